"""Files: reading them with checks, writing them completely or not at all, checksums, locks."""
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import stat

from runtime.errors import InputError

MAX_BYTES = 2 << 30  # of a table or a JSON file; 5 million results take 0.5 GB
MAX_DIGITS = 1000    # of an integer in JSON: older Pythons need quadratic time for it


def file_size(path):
    """Bytes of the regular file at `path`; links are followed.

    Raises InputError if there is none. Pipes and devices are not opened: that could hang, or have an effect.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError('%s: %s' % (path, getattr(error, 'strerror', None) or error)) from None
    if not stat.S_ISREG(status.st_mode):
        kind = 'a folder' if stat.S_ISDIR(status.st_mode) else 'a pipe, socket or device'
        raise InputError('%s: found %s, expected a file' % (path, kind))
    return status.st_size


def read_text(path):
    """The text of a UTF-8 file, without a byte-order mark, with newlines as line ends.

    Raises InputError if it is not a regular file, cannot be read, has more than MAX_BYTES, or is not UTF-8.
    """
    size = file_size(path)
    if size > MAX_BYTES:
        raise InputError('%s: found %d bytes, expected %d at most; is it the right file?' % (path, size, MAX_BYTES))
    try:
        with open(path, encoding='utf-8-sig') as text:
            return text.read()
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    except UnicodeDecodeError as error:
        raise InputError('%s: not UTF-8 text (%s); save it as UTF-8' % (path, error)) from None


def read_json(path, pairs_hook=None):
    """The content of a JSON file. `pairs_hook` makes an object from its list of (key, value); default: a dict.

    Raises InputError as read_text does, and if the text is not JSON or is nested too deeply.
    """
    text = read_text(path)
    try:
        return json.loads(text, parse_int=_parse_int, object_pairs_hook=pairs_hook)
    except (ValueError, RecursionError) as error:
        raise InputError('%s: not valid JSON: %s; write the file again' % (path, error)) from None


def _parse_int(digits):
    if len(digits) > MAX_DIGITS:
        raise ValueError('a number of %d digits' % len(digits))
    return int(digits)


@contextlib.contextmanager
def write_errors(path):
    """A context for writing `path`: an OSError inside it becomes an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError('%s: cannot be written: %s' % (path, error.strerror)) from None


@contextlib.contextmanager
def atomic_write(path):
    """A context that gives a temporary path to write to. At the end it replaces `path`; after an error it is removed.

    The temporary file is in the folder of `path`, because a rename is atomic only within a file system. A missing
    folder is created. Raises InputError if `path` cannot be written.
    """
    partial = '%s.partial%d' % (path, os.getpid())
    try:
        with write_errors(path):
            if os.path.exists(path) and not os.path.isfile(path):
                raise InputError('%s: cannot be written: it is not a regular file' % path)
            os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def write_text(path, text):
    """Write the UTF-8 file `path` completely or not at all; raises InputError as atomic_write does."""
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8', newline='\n') as file:
        file.write(text)


def write_json(path, content, indent=1):
    """Write `content` to a JSON file, completely or not at all; indent None: in one line. Raises as atomic_write."""
    write_text(path, json.dumps(content, indent=indent) + '\n')


def append_text(path, text):
    """Append `text` to the UTF-8 file `path`; raises InputError if that fails."""
    with write_errors(path), open(path, 'a', encoding='utf-8') as file:
        file.write(text)


def remove_matching(folder, pattern):
    """Remove the files and folders in `folder` that match a glob pattern: leftovers of killed runs."""
    for path in glob.glob(os.path.join(glob.escape(folder), pattern)):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def sync(path):
    """Wait until a file's content, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path):
    """The SHA-256 of a file, in hexadecimal. Raises InputError if it is not a regular file or cannot be read."""
    file_size(path)
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    return digest.hexdigest()


@contextlib.contextmanager
def file_lock(path):
    """A context that holds the lock file `path`; its folder is created if it is missing.

    The kernel releases the lock when its process ends, however it ends. Raises InputError, which names the other
    process, if another run holds it.
    """
    with write_errors(path):
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        lock = open(path, 'a+')
    with lock:
        with write_errors(path):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise InputError('%s: held by %s; wait for that run, or give another folder'
                                 % (path, lock.read().strip() or 'another run')) from None
            lock.truncate(0)
            lock.write('process %d on %s\n' % (os.getpid(), socket.gethostname()))
            lock.flush()
        yield

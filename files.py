"""Files: read only where they are what they should be, written whole or not at all; checksums, locks."""
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import stat

from errors import InputError

MOST_BYTES = 2 << 30  # of a table or a JSON file; 5 million results take 0.5 GB
MOST_DIGITS = 1000    # of a whole number in JSON: older Pythons take quadratic time


def size_of(path):
    """Bytes of the regular file at `path`, behind links or not.

    Raises InputError where there is none. A pipe or a device is not even opened: it could hang, or act.
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
    """Text of a UTF-8 file, without a byte-order mark; line ends are newlines.

    Raises InputError where it is no regular file, cannot be read, has more than MOST_BYTES, or is no UTF-8.
    """
    size = size_of(path)
    if size > MOST_BYTES:
        raise InputError('%s: found %d bytes, expected %d at most; is it the right file?'
                         % (path, size, MOST_BYTES))
    try:
        with open(path, encoding='utf-8-sig') as text:
            return text.read()
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    except UnicodeDecodeError as error:
        raise InputError('%s: not UTF-8 text (%s); save it as UTF-8' % (path, error)) from None


def read_json(path, pairs_hook=None):
    """Content of a JSON file; `pairs_hook` makes an object of its [(key, value)], a dict by default.

    Raises InputError as read_text does, and where the text is not JSON or nested too deeply.
    """
    text = read_text(path)
    try:
        return json.loads(text, parse_int=_parse_int, object_pairs_hook=pairs_hook)
    except (ValueError, RecursionError) as error:
        raise InputError('%s: not valid JSON: %s; write the file again' % (path, error)) from None


def _parse_int(digits):
    if len(digits) > MOST_DIGITS:
        raise ValueError('a number of %d digits' % len(digits))
    return int(digits)


@contextlib.contextmanager
def writing(path):
    """Raise InputError where what is done inside, to write `path`, fails."""
    try:
        yield
    except OSError as error:
        raise InputError('%s: cannot be written: %s' % (path, error.strerror)) from None


@contextlib.contextmanager
def written_whole(path):
    """A path to write to in place of `path`, which it becomes when all went well; else it is removed.

    It lies in the same folder, made where there is none, for only there a rename replaces the old file in one
    step. Raises InputError where `path` cannot be written.
    """
    partial = '%s.partial%d' % (path, os.getpid())
    try:
        with writing(path):
            if os.path.exists(path) and not os.path.isfile(path):
                raise InputError('%s: cannot be written: it is not a regular file' % path)
            os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def write_text(path, text):
    """Write `text` to the UTF-8 file `path`, whole or not at all; raises InputError as written_whole does."""
    with written_whole(path) as partial, open(partial, 'w', encoding='utf-8', newline='\n') as file:
        file.write(text)


def append(path, text):
    """Add `text` to the file; raises InputError where that fails."""
    with writing(path), open(path, 'a', encoding='utf-8') as file:
        file.write(text)


def sweep(folder, pattern):
    """Remove what killed runs left behind: files and folders of this glob pattern in `folder`."""
    for path in glob.glob(os.path.join(glob.escape(folder), pattern)):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def sync(path):
    """Wait until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path):
    """SHA-256 of a file, in hexadecimal. Raises InputError where it is no regular file or cannot be read."""
    size_of(path)
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path):
    """Hold the lock file `path`, in a folder that is made where there is none.

    The kernel's lock ends with its process, however that ends, so that none is ever left over. Raises InputError
    where another run holds it, which is named.
    """
    with writing(path):
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        lock = open(path, 'a+')
    with lock:
        with writing(path):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise InputError('%s: held by %s; wait for that run, or name another folder'
                                 % (path, lock.read().strip() or 'another run')) from None
            lock.truncate(0)
            lock.write('process %d on %s\n' % (os.getpid(), socket.gethostname()))
            lock.flush()
        yield

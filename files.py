"""Files that appear whole or not at all, their checksums, and folders that one run has to itself."""
import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import socket

from errors import InputError


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
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
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

"""Files that appear whole or not at all."""
import contextlib
import os

from errors import InputError


@contextlib.contextmanager
def written_whole(path):
    """A path to write to in place of `path`, which it becomes when all went well; else it is removed.

    It lies in the same folder, made where there is none, for only there a rename replaces the old file in one
    step. Raises InputError where `path` cannot be written.
    """
    partial = '%s.partial%d' % (path, os.getpid())
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError('%s: cannot be written: it is not a regular file' % path)
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise InputError('%s: cannot be written: %s' % (path, error.strerror)) from None
    finally:
        if os.path.exists(partial):
            os.remove(partial)

"""Files: read only where they are what they should be, written whole or not at all."""
import contextlib
import json
import os
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

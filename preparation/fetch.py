"""Download the authors' annotation and class names, and verify their checksums.

A file is written to the data root only when it is complete and has the published SHA-256.
"""
import hashlib
import http.client
import os
import urllib.request

from tqdm import tqdm

from config import DataConfig
from runtime.errors import InputError, printable
from runtime.files import atomic_write, sha256

NAME = 'fetch'
ANNOTATION = 'k600_val_annotation.txt'
CATEGORIES = DataConfig().target_categories
PUBLISHED_AT = 'https://raw.githubusercontent.com/FuchenUSTC/AherNet/master'
PUBLISHED = {  # file: sha256
    ANNOTATION: 'b0a7f907576b3a03bda2eedd1dcd4ed0c14a1ca9515b2afdb85b0bcf1c03718a',
    CATEGORIES: '64c0326e70d13100aa7d1de5a35f0b48ff67fda4e427f4b943a7c85b4305a573',
}
TIMEOUT = 30          # seconds without a byte
BLOCK = 1 << 16       # bytes that are read at a time
MAX_BYTES = 64 << 20  # of a file: more than a hundred times the published ones


def add_arguments(parser):
    """Add the flags of this subcommand."""
    parser.add_argument('--data_root', default='data', help='folder to write to (default: %(default)s)')
    parser.add_argument('--url', default=PUBLISHED_AT, help='folder to download from (default: %(default)s)')
    parser.add_argument('--force', action='store_true', help='overwrite files that are there and differ')


def run(args):
    """Download the files that are missing; first check that each of them may be written."""
    wanted = [name for name in PUBLISHED if not _is_fetched(os.path.join(args.data_root, name), name, args.force)]
    for name in wanted:
        fetch('%s/%s' % (args.url.rstrip('/'), name), os.path.join(args.data_root, name), PUBLISHED[name])


def _is_fetched(path, name, force):
    """Whether the published file is at `path`; raises InputError where another file would be overwritten."""
    found = sha256(path) if os.path.exists(path) else None
    if found == PUBLISHED[name]:
        print('%s: is there already, verified' % printable(path))
    elif found and not force:
        raise InputError('%s: found another file there (sha256 %s), expected the published one (%s); move it '
                         'away, or overwrite it with --force' % (path, found, PUBLISHED[name]))
    return found == PUBLISHED[name]


def fetch(url, path, checksum):
    """Download `url` to `path`, which is replaced only by a complete file with this SHA-256.

    Raises InputError where the download fails or has another content.
    """
    digest = hashlib.sha256()
    with atomic_write(path) as partial, open(partial, 'wb') as file:
        for block in _download(url):
            digest.update(block)
            file.write(block)
            if file.tell() > MAX_BYTES:
                raise InputError('%s: found more than %d bytes, which the published file does not have; check the '
                                 'address (--url)' % (url, MAX_BYTES))
        if digest.hexdigest() != checksum:
            raise InputError('%s: found content with sha256 %s, expected %s; %s was not written: check the address '
                             '(--url) and try again' % (url, digest.hexdigest(), checksum, path))
    print(printable('%s: fetched from %s, verified' % (path, url)))


def _download(url):
    """Yield the content of `url` in blocks, with a progress bar; raises InputError where it cannot be downloaded."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            length = response.headers.get('Content-Length')
            with tqdm.wrapattr(response, 'read', total=length and int(length), desc=os.path.basename(url),
                               disable=None) as content:
                yield from iter(lambda: content.read(BLOCK), b'')
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError('%s: cannot be downloaded (%s); check the address and the network, give the folder that '
                         'holds the file with --url, or save the file in --data_root yourself'
                         % (url, error)) from None

"""What a conversion of features records of each video: the file that it was made of, with its size and date.

preparation/converted.py writes the records. A FeatureStore reads them to find files that have changed since.
"""
import contextlib
import json
import os

import h5py
import numpy as np

from runtime.errors import InputError
from runtime.files import file_size

RECORD = 'conversion_record.jsonl'   # in a folder: a JSON object in a line for each npy file that was made
MADE_OF = 'made_of'                  # attribute of an HDF5 dataset: the same of it, as a JSON object


def is_file(path):
    """Whether a regular file is at `path`; raises InputError where a link to nothing, or anything else, is there."""
    if os.path.islink(path) and not os.path.exists(path):
        raise InputError('%s: found a link to a file that does not exist; remove the link' % path)
    return os.path.exists(path) and file_size(path) >= 0


def identity(path):
    """(bytes, modification time in ns) of a file: a rename keeps both, and a new version has others."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def read_record(path):
    """{(video, bytes, modification time in ns): made of, a dict} of a record; lines that were cut short are ignored.

    An npy file is of this video and record if its size and modification time are these. Raises InputError where
    anything but a file is at `path`.
    """
    made_of = {}
    if is_file(path):
        with open(path, encoding='utf-8', errors='replace') as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                    entry = json.loads(line)
                    made_of[(entry['video'],) + tuple(entry['npy'])] = entry['made_of']
    return made_of


def made_of_npy(record, video, path):
    """What the npy file of `video` at `path` was made of, by its folder's `record`; None where that has no line."""
    with contextlib.suppress(OSError):  # of a link to nothing
        return record.get((video,) + identity(path))
    return None


def made_of_hdf5(file, video):
    """What the dataset `video` of an open HDF5 file was made of; None where it has no record. No link is followed."""
    name = video.encode('utf-8', 'surrogateescape')
    with contextlib.suppress(Exception):  # h5py and JSON raise several types for a damaged record
        if file.id.links.get_info(name).type == h5py.h5l.TYPE_HARD:
            attribute = h5py.h5a.open(file.id, MADE_OF.encode(), obj_name=name)  # .attrs takes twice as long
            text = np.empty((), attribute.dtype)
            attribute.read(text)
            return json.loads(text[()])
    return None


def has_changed(made_of, path):
    """Whether the file at `path` is no longer what a video was made of; None where `made_of` does not say.

    Dates are compared in whole seconds, because archives and some file systems keep no more.
    """
    with contextlib.suppress(TypeError, KeyError, OSError):  # of a record that is none
        if path.endswith(made_of['form']):
            size, modified = identity(path)
            return (size, modified // 10 ** 9) != (made_of['size'], made_of['mtime_ns'] // 10 ** 9)
    return None

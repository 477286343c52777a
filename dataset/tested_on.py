"""What results of a test come from: the videos, and the files of their features."""
import contextlib
import hashlib
import os

from dataset.conversion_record import identity
from dataset.side import feature_store
from runtime.errors import InputError


def origin_of_data(config, videos):
    """What tells these Videos and their features from others, and from features that are extracted anew.

    Of a file of features it is the size and the time of the last change that count, not the content.
    """
    paths, files = set(), []
    with feature_store(config, 'target_features') as store:
        for video in videos:
            with contextlib.suppress(InputError):  # of a video without features
                paths.add(store.stored_in(video.features))
    for path in sorted(paths):
        with contextlib.suppress(OSError):  # of a link that leads nowhere
            files.append((os.path.basename(path), *identity(path)))
    return {'videos': digest([_identity(video) for video in videos]),
            'feature_files': {'path': os.path.realpath(store.path), 'number': len(files), 'digest': digest(files)}}


def _identity(video):
    """What results of a Video depend on; of the authors' data it is what earlier versions of this code wrote."""
    added = (video.clips, video.times and tuple(video.times), video.file) if video.times or video.file else ()
    return (video.name, video.label, video.seconds, video.frames, *added)


def digest(value):
    """A text that differs where the value does."""
    return hashlib.sha256(repr(value).encode()).hexdigest()

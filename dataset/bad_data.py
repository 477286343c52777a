"""Data that cannot be used: the run stops at the first of it, or skips it (--bad_data stop | skip).

bad_data.csv lists what was skipped, each video and stream once. Too many bad videos stop the run anyway.
"""
import collections
import contextlib
import csv
import os
import threading
import time

from dataset.tables import raise_error
from runtime.errors import InputError
from runtime.files import write_errors

NAME = 'bad_data.csv'
COLUMNS = ('video', 'stream', 'reason')
SLOW_READ_SECONDS = 60  # slow_read_warning reports a read that takes longer
MIN_VIDEOS = 100        # videos that the maximum share is taken of, where fewer were read


class BadData:
    """The bad data of one run. Several threads may use it."""

    def __init__(self, folder, skip, max_share, resumed=False):
        """The list of bad data is written to `folder`.

        Args:
          folder: folder of bad_data.csv; it is made when the first bad data are listed.
          skip: whether bad data are skipped; if not, the first InputError is raised.
          max_share: the maximum share of bad videos; with more, the run stops although it skips.
          resumed: whether this run resumes an earlier one, whose bad_data.csv it continues. If not, that file is
            removed.
        """
        self.failures = []  # errors that end the run, where TensorFlow's session hides them
        self._skip, self._max_share = skip, max_share
        self._path = os.path.join(folder, NAME)
        self._lock = threading.Lock()
        self._read = collections.defaultdict(set)  # stream → videos that were read, or could not be read
        self._bad = collections.defaultdict(set)   # stream → videos that could not be read
        self._reading = {}      # thread → (start in seconds, video, stream) of its present read
        self._reported = set()  # of these, the reads that slow_read_warning has reported
        self._listed = set()
        if resumed:  # a damaged list is written again
            with contextlib.suppress(OSError, ValueError, TypeError, csv.Error), \
                    open(self._path, newline='', encoding='utf-8') as file:
                self._listed = {_key(*row) for row in list(csv.reader(file))[1:]}
        if os.path.isfile(self._path) and not self._listed:
            os.remove(self._path)

    def read(self, stream, video, call):
        """The result of `call()`, or None where it raises InputError and the video is skipped.

        Raises InputError where the run does not skip, or where too many videos are bad.
        """
        if video in self._bad[stream]:
            return None
        self._reading[threading.get_ident()] = time.time(), video, stream
        try:
            result = call()
        except InputError as error:
            with self._lock:
                if not self._skip:
                    raise
                self._read[stream].add(video)
                if video not in self._bad[stream]:
                    self._bad[stream].add(video)
                    self._list(video, stream, error)
                self.check_share(stream, len(self._bad[stream]), len(self._read[stream]), error)
            return None
        finally:
            self._reading.pop(threading.get_ident())
        if self._skip:
            with self._lock:
                self._read[stream].add(video)
        return result

    def slow_read_warning(self):
        """A line about a read that takes longer than SLOW_READ_SECONDS, once for each such read; else None."""
        for read in list(self._reading.values()):
            start, video, stream = read
            if time.time() - start > SLOW_READ_SECONDS and read not in self._reported:
                self._reported.add(read)
                return ('video %s (%s): reading its features has taken more than %g s; check whether the disk '
                        'answers' % (video, stream, SLOW_READ_SECONDS))
        return None

    def table_error_handler(self, table, errors):
        """The `on_error` that the readers of tables.py take; `table` is the DataConfig field of the table.

        It appends to the list `errors` where the run skips bad data, and raises the error where it does not.
        """
        def skip(error):
            errors.append(error)
            self._list('', table, error)
        return skip if self._skip else raise_error

    def check_share(self, what, bad, total, last_error):
        """Raise InputError where `bad` of `total` videos are too many to continue."""
        if not self._skip:
            raise last_error
        if bad > self._max_share * max(total, MIN_VIDEOS):
            raise InputError('%s: %d of %d videos cannot be used, which is more than --max_bad_share %g allows; the '
                             'last error: %s' % (what, bad, total, self._max_share, last_error))

    def _list(self, video, stream, error):
        if _key(video, stream, str(error)) in self._listed:
            return
        is_first = not os.path.exists(self._path)
        with write_errors(self._path):
            os.makedirs(os.path.dirname(self._path) or '.', exist_ok=True)
            with open(self._path, 'a', newline='', encoding='utf-8') as file:
                csv.writer(file).writerows(([COLUMNS] if is_first else []) + [(video, stream, error)])
        if is_first:
            print('bad data are skipped and listed in %s; the first: %s' % (self._path, error), flush=True)


def _key(video, stream, reason):
    """What is listed once: a video of a stream; of a table, where `video` is '', each error."""
    return (video, stream) if video else (stream, reason)

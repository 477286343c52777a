"""Data that cannot be used: the run stops at the first of it, or skips it (--bad_data stop | skip).

bad_data.csv lists what was skipped, each video and stream once. Too many bad videos stop the run anyway.
"""
import collections
import contextlib
import csv
import io
import os
import threading
import time

from dataset.tables import raise_error
from runtime.errors import InputError, printable
from runtime.files import append_text, make_folder

NAME = 'bad_data.csv'
COLUMNS = ('video', 'stream', 'reason')
SLOW_READ_SECONDS = 60  # slow_read_warning reports a read that takes longer


class BadData:
    """The bad data of one run. Several threads may use it."""

    def __init__(self, folder, skip, max_share=0, max_videos=0, resumed=False):
        """The list of bad data is written to `folder`.

        Args:
          folder: folder of bad_data.csv; it is made when the first bad data are listed.
          skip: whether bad data are skipped; if not, the first InputError is raised.
          max_share, max_videos: of the videos of a stream, this share or this number may be bad, whichever is more;
            the next one stops the run although it skips.
          resumed: whether this run resumes an earlier one, whose bad_data.csv it continues. If not, that file is
            removed when the run starts.
        """
        self.failures = []  # errors that end the run, where TensorFlow's session hides them
        self._skip, self._max_share, self._max_videos = skip, max_share, max_videos
        self._path = os.path.join(folder, NAME)
        self._lock = threading.Lock()
        self._videos = {}  # stream → number of its videos
        self._bad = collections.defaultdict(set)  # stream → videos that could not be read
        self._reading = {}      # thread → (start in seconds, video, stream) of its present read
        self._reported = set()  # of these, the reads that slow_read_warning has reported
        self._listed = _listed_in(self._path) if resumed else set()
        self._pending = []  # rows to be listed when the run starts; None from then on

    def start(self):
        """Remove the list of another run, or a damaged one, and list what was found so far.

        Called when nothing else can refuse the run: until then, the list of the run before stays.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        if not self._listed and _is_list(self._path):
            os.remove(self._path)
        for row in pending:
            self._list(*row)

    def expect(self, stream, videos):
        """Set the number of videos of `stream`, which is what a share of them is taken of."""
        self._videos[stream] = videos

    def read(self, stream, video, call):
        """The result of `call()`, or None where it raises InputError and the video is skipped.

        Raises InputError where the run does not skip, or where too many videos of the stream are bad: `expect` has
        been given their number.
        """
        if video in self._bad[stream]:
            return None
        self._reading[threading.get_ident()] = time.monotonic(), video, stream
        try:
            result = call()
        except InputError as error:
            with self._lock:
                if not self._skip:
                    raise
                if video not in self._bad[stream]:
                    self._bad[stream].add(video)
                    self.start()
                    self._list(video, stream, error)
                self.check_share(stream, len(self._bad[stream]), self._videos[stream], error)
            return None
        finally:
            self._reading.pop(threading.get_ident())
        return result

    def slow_read_warning(self):
        """A line about a read that takes longer than SLOW_READ_SECONDS, once for each such read; else None."""
        for read in list(self._reading.values()):
            start, video, stream = read
            if time.monotonic() - start > SLOW_READ_SECONDS and read not in self._reported:
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
        allowed = max(self._max_videos, int(self._max_share * total + 1e-6))  # 0.29 · 100 is less than 29
        if bad > allowed:
            self.start()
            raise InputError('%s: %d of %d videos cannot be used, expected at most %d: the larger of '
                             '--max_bad_videos %d and --max_bad_share %g of them; correct them, or raise one of the '
                             'two; the last error: %s' % (
                                 what, bad, total, allowed, self._max_videos, self._max_share, last_error))

    def _list(self, video, stream, error):
        if self._pending is not None:
            self._pending.append((video, stream, error))
            return
        if _key(video, stream, str(error)) in self._listed:
            return
        is_first, text = not os.path.lexists(self._path), io.StringIO()
        if not (is_first or _is_list(self._path)):
            raise InputError('%s: found another file, expected a list of bad data, with the header row %s; move it '
                             'away; the bad data to be listed: %s' % (self._path, ','.join(COLUMNS), error))
        make_folder(os.path.dirname(self._path))
        csv.writer(text).writerows(([COLUMNS] if is_first else []) + [(video, stream, error)])
        append_text(self._path, text.getvalue())
        if is_first:
            print(printable('bad data are skipped and listed in %s; the first: %s' % (self._path, error)), flush=True)


def _is_list(path):
    """Whether there is a list of bad data at `path`, and not a file of the same name that others wrote."""
    if os.path.islink(path) or not os.path.isfile(path):  # a pipe would hang
        return False
    with open(path, 'rb') as file:
        row, header = file.readline(99), ','.join(COLUMNS).encode()
    return row.rstrip() == header or header.startswith(row)  # empty, or cut short in its first row by a full disk


def _listed_in(path):
    """The key of each row of the list of bad data at `path`; none where there is no such list, or it is damaged."""
    if _is_list(path):
        with contextlib.suppress(OSError, ValueError, TypeError, csv.Error), \
                open(path, newline='', encoding='utf-8') as file:
            text = file.read()
            if text.endswith('\n'):  # otherwise its last row was cut short, and the next would continue it
                return {_key(*row) for row in list(csv.reader(io.StringIO(text, newline=''), strict=True))[1:]}
    return set()


def _key(video, stream, reason):
    """What is listed once: a video of a stream; of a table, where `video` is '', each error."""
    return (video, stream) if video else (stream, reason)

"""Data that cannot be used: the run stops at the first, or goes on without it (--bad_data stop | skip).

Skipped data are listed in bad_data.csv, once a video and stream. Too many of them stop the run all the same.
"""
import collections
import contextlib
import csv
import os
import threading
import time

from errors import InputError
from files import writing
from tables import stop

NAME = 'bad_data.csv'
COLUMNS = ('video', 'stream', 'reason')
PATIENCE = 60  # seconds that a read may take before it is said
LEAST = 100    # videos; a share is taken of this many, where fewer were read


class BadData:
    """What could not be used in this run; threads may call it."""

    def __init__(self, data, folder, goes_on=False):
        """`data` is a DataConfig; bad_data.csv stands in `folder`.

        What an earlier run listed there stays where this run goes on with that one; else it is removed.
        """
        self.failures = []  # what ends the run, where a session error hides it
        self._skips, self._most_share = data.bad_data == 'skip', data.max_bad_share
        self._path = os.path.join(folder, NAME)
        self._lock = threading.Lock()
        self._read = collections.defaultdict(set)  # stream → videos that were tried
        self._bad = collections.defaultdict(set)   # of those, what could not be read
        self._reading, self._said = {}, set()  # thread → (since when, video, stream); those said to be slow
        self._listed = {_key(*row) for row in _rows(self._path)} if goes_on else set()
        if os.path.isfile(self._path) and not self._listed:
            os.remove(self._path)

    def read(self, stream, video, call):
        """What `call()` returns; None where it raises InputError and the run goes on without this video.

        Raises InputError where the run does not: by setting, or because too many videos are bad.
        """
        if video in self._bad[stream]:
            return None
        self._reading[threading.get_ident()] = time.time(), video, stream
        try:
            found = call()
        except InputError as error:
            with self._lock:
                if not self._skips:
                    raise
                self._read[stream].add(video)
                if video not in self._bad[stream]:
                    self._bad[stream].add(video)
                    self._list(video, stream, error)
                self.check_share(stream, len(self._bad[stream]), len(self._read[stream]), error)
            return None
        finally:
            self._reading.pop(threading.get_ident())
        if self._skips:
            with self._lock:
                self._read[stream].add(video)
        return found

    def slow(self):
        """A line on a read that takes more than PATIENCE and may hang, once of each; else None."""
        for read in list(self._reading.values()):
            since, video, stream = read
            if time.time() - since > PATIENCE and read not in self._said:
                self._said.add(read)
                return 'video %s (%s): reading its features takes more than %g s; does the disk hang?' % (
                    video, stream, PATIENCE)
        return None

    def of_tables(self, table, faults):
        """The `report` of tables.py's readers for the table of a DataConfig field; adds to the list `faults`."""
        def skip(error):
            faults.append(error)
            self._list('', table, error)
        return skip if self._skips else stop

    def check_share(self, what, bad, among, last):
        """Raise InputError where `bad` of `among` are too many to go on without; `last` is one of their errors."""
        if not self._skips:
            raise last
        if bad > self._most_share * max(among, LEAST):
            raise InputError('%s: %d of %d videos cannot be used, more than --max_bad_share %g; the last: %s'
                             % (what, bad, among, self._most_share, last))

    def _list(self, video, stream, error):
        if _key(video, stream, str(error)) in self._listed:
            return
        is_first = not os.path.exists(self._path)
        with writing(self._path):
            os.makedirs(os.path.dirname(self._path) or '.', exist_ok=True)
            with open(self._path, 'a', newline='', encoding='utf-8') as lines:
                csv.writer(lines).writerows(([COLUMNS] if is_first else []) + [(video, stream, error)])
        if is_first:
            print('left out, as all that %s will list: %s' % (self._path, error), flush=True)


def _key(video, stream, reason):
    """What is listed once: a video and stream, and each fault of a table."""
    return (video, stream) if video else (stream, reason)


def _rows(path):
    """Rows of the list at `path`; none where there is none, or it is not whole."""
    with contextlib.suppress(OSError, ValueError, csv.Error), open(path, newline='', encoding='utf-8') as lines:
        header, *rows = csv.reader(lines)
        if all(len(row) == len(COLUMNS) for row in rows):
            return rows
    return []

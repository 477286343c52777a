"""The results file of one snapshot: written video by video, kept where nothing that it comes from has changed.

Beside results.json lie results.partial.jsonl, while there are videos to test, and results.origin.json afterwards. The
first line of the partial file, and the origin file, say what the results come from. A line of the partial file is one
video's entry after the checksum of its text, so that a line cut off or changed is recognised.
"""
import contextlib
import hashlib
import json
import os
from typing import NamedTuple

from runtime.errors import InputError
from runtime.files import append_text, file_size, read_json, sha256, write_json, write_text

CHECKSUM_CHARACTERS = 16
ENDS = ('.json', '.origin.json', '.partial.jsonl')  # of the names of the three files


class Entry(NamedTuple):
    """What is written of one video."""

    video: str
    hit: bool      # is the label right? None where it is unknown, or the video was skipped
    results: list  # [{score, segment in seconds, label}]; empty for a skipped video
    skipped: bool = False


class ResultsFile:
    """The results at a path, with their origin: a dict that JSON can hold, equal where the results are."""

    def __init__(self, path, origin):
        self.path, self.origin = path, origin
        _, self.origin_path, self.partial_path = [os.path.splitext(path)[0] + end for end in ENDS]

    def _saved(self):
        """What the origin file says; {} where it says nothing."""
        with contextlib.suppress(InputError):
            saved = read_json(self.origin_path)
            return saved if isinstance(saved, dict) else {}
        return {}

    def earlier(self):
        """{path: origin} of the results, and of the part of results, that earlier runs or the user left here.

        The origin is None where it is not known. Raises InputError where one of the files is no regular file.
        """
        for path in (self.path, self.origin_path, self.partial_path):
            if os.path.lexists(path):
                file_size(path)
        found = {}
        if os.path.exists(self.path):
            found[self.path] = self._saved() or None
        if os.path.exists(self.partial_path) and file_size(self.partial_path):
            origin = next(self._lines(), None)
            found[self.partial_path] = origin if isinstance(origin, dict) else None
        return found

    def has_same_origin(self):
        """Are the results of this origin, by what is written beside them, and lack no skipped video?"""
        saved = self._saved()
        accuracy = saved.get('accuracy', '')
        return (all(saved.get(name) == value for name, value in self.origin.items()) and saved.get('skipped') == 0
                and (accuracy is None or isinstance(accuracy, (int, float)) and 0 <= accuracy <= 1))

    def is_finished(self):
        """Has an earlier run with the same origin written these results, as they are, and skipped no video?"""
        with contextlib.suppress(InputError):
            return self.has_same_origin() and self._saved().get('sha256') == sha256(self.path)
        return False

    def finished(self):
        """(results, accuracy) of an earlier run, if it is_finished; else None."""
        with contextlib.suppress(InputError):
            if self.is_finished():
                return read_json(self.path), self._saved()['accuracy']
        return None

    def right_labels(self):
        """{video: is its label right?} of the results that are here; None where an earlier version wrote them.

        Videos whose label is not known are not there.
        """
        found = self._saved().get('right_labels')
        is_ours = isinstance(found, dict) and all(type(value) is bool for value in found.values())
        return found if is_ours else None

    def outdated(self):
        """Why what earlier runs left, of any origin, cannot be used: a text for each file."""
        texts = []
        for path, saved in self.earlier().items():
            other = [name.replace('_', ' ') for name in self.origin if saved and saved.get(name) != self.origin[name]]
            if saved is None:
                texts.append('%s is of unknown origin' % path)
            elif other:
                texts.append('%s was made from other %s' % (path, ', '.join(other)))
            elif path == self.path and saved.get('skipped'):
                texts.append('%s lacks videos that were skipped (%s)' % (path, saved['skipped']))
            elif path == self.path and not self.is_finished():
                texts.append('%s has changed since it was written' % path)
        return texts

    def resume(self, videos):
        """Entries of the first `videos` that an interrupted run with the same origin has written.

        Only those before the first skipped video count, which may be readable now. Reading ends at the first line
        that is not the entry of the next video. `start` has to be called before `add`.
        """
        lines = self._lines()
        if next(lines, None) != self.origin:
            return []
        entries = []
        with contextlib.suppress(TypeError):  # of a line that is no entry
            for video, line in zip(videos, lines):
                entry = Entry(*line)
                if entry.video != video or entry.skipped:
                    break
                entries.append(entry)
        return entries

    def _lines(self):
        """The content of each line of the partial file, up to the first line that no run wrote.

        Raises InputError where it is no regular file: to open a pipe would hang.
        """
        if os.path.lexists(self.partial_path):
            file_size(self.partial_path)
        with contextlib.suppress(OSError, ValueError), open(self.partial_path, encoding='utf-8') as text:
            for line in text:
                checksum, content = line[:CHECKSUM_CHARACTERS], line[CHECKSUM_CHARACTERS + 1:-1]
                if checksum != _line_checksum(content):
                    return
                yield json.loads(content)

    def start(self, entries):
        """Write the partial file anew, with these entries."""
        write_text(self.partial_path, ''.join(map(_line, [self.origin] + entries)))

    def add(self, entries):
        """Add the entries of more videos to the partial file."""
        append_text(self.partial_path, ''.join(map(_line, entries)))

    def finish(self, results, accuracy, skipped=0, right_labels=None):
        """Write the complete `results` and their origin, and remove the partial file.

        skipped: number of videos; right_labels: what the method of that name returns. The origin comes first: results
        without one are never ours, and are not replaced without being asked.
        """
        text = json.dumps(results) + '\n'
        write_json(self.origin_path, dict(self.origin, accuracy=accuracy, skipped=skipped, right_labels=right_labels,
                                          sha256=hashlib.sha256(text.encode()).hexdigest()))
        write_text(self.path, text)
        os.remove(self.partial_path)


def _line(content):
    text = json.dumps(content)
    return '%s %s\n' % (_line_checksum(text), text)


def _line_checksum(text):
    return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_CHARACTERS]

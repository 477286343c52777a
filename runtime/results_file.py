"""The results file of one snapshot: written video by video, kept where nothing that it comes from has changed.

Beside results.json lie results.partial.jsonl, while there are videos to test, and results.origin.json afterwards. The
first line of the partial file, and the origin file, say what the results come from. A line of the partial file is one
video's entry after the checksum of its text, so that a line cut off or changed is recognised.
"""
import contextlib
import hashlib
import json
import os

from runtime.errors import InputError
from runtime.files import append_text, read_json, sha256, write_json, write_text

CHECKSUM_CHARACTERS = 16


class ResultsFile:
    """The results at a path, with their origin: a dict that JSON can hold, equal where the results are."""

    def __init__(self, path, origin):
        self.path, self.origin = path, origin
        self.origin_path, self.partial_path = [os.path.splitext(path)[0] + end
                                               for end in ('.origin.json', '.partial.jsonl')]

    def exists(self):
        """Has an earlier run left anything of these results?"""
        return os.path.exists(self.origin_path) or os.path.exists(self.partial_path)

    def finished(self):
        """(results, accuracy) of an earlier run with the same origin; None where there are none."""
        with contextlib.suppress(InputError, KeyError, TypeError):
            saved = read_json(self.origin_path)
            accuracy = saved['accuracy']
            if ({name: saved[name] for name in self.origin} == self.origin and saved['sha256'] == sha256(self.path)
                    and (accuracy is None or 0 <= accuracy <= 1)):
                return read_json(self.path), accuracy
        return None

    def resume(self, videos, batch_size):
        """Entries [name, …] of the first `videos` that an interrupted run with the same origin has written.

        Only complete batches count: the last digits of a video's numbers may depend on its batch. Reading ends at the
        first line that is not the entry of the next video. `start` has to be called before `add`.
        """
        lines = []
        with contextlib.suppress(OSError, ValueError), open(self.partial_path, encoding='utf-8') as text:
            for line in text:
                checksum, entry = line[:CHECKSUM_CHARACTERS], line[CHECKSUM_CHARACTERS + 1:-1]
                if checksum != _line_checksum(entry):
                    break
                lines.append(json.loads(entry))
        if not lines or lines[0] != self.origin:
            return []
        entries = lines[1:]
        known = next((place for place, (entry, video) in enumerate(zip(entries, videos)) if entry[0] != video),
                     min(len(entries), len(videos)))
        return entries[:known // batch_size * batch_size]

    def start(self, entries):
        """Write the partial file anew, with these entries."""
        write_text(self.partial_path, ''.join(map(_line, [self.origin] + entries)))

    def add(self, entries):
        """Add the entries of more videos to the partial file."""
        append_text(self.partial_path, ''.join(map(_line, entries)))

    def finish(self, results, accuracy):
        """Write the complete `results` and their origin, and remove the partial file."""
        write_json(self.path, results, indent=None)
        write_json(self.origin_path, dict(self.origin, accuracy=accuracy, sha256=sha256(self.path)))
        os.remove(self.partial_path)


def _line(entry):
    text = json.dumps(entry)
    return '%s %s\n' % (_line_checksum(text), text)


def _line_checksum(text):
    return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_CHARACTERS]

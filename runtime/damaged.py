"""Damaged snapshots in a run that has others to go on with."""
import contextlib
import os

from runtime import snapshots
from runtime.errors import printable
from runtime.watching import removed_text


class Damage:
    """Damaged snapshots: each is reported and left out, until there are `limit` of them."""

    def __init__(self, limit):
        self._left = limit

    @contextlib.contextmanager
    def reported(self, prefix):
        """A context that ends at a snapshots.Damaged of `prefix`; the last one that is allowed is raised again."""
        try:
            yield
        except snapshots.Damaged as error:
            self._left -= 1
            if not self._left:
                raise
            removed = not os.path.lexists(prefix + '.index')
            print(printable('skipped: %s' % (removed_text(prefix) if removed else error)), flush=True)

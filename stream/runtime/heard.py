"""What an owner has heard of each source that forwards events to it.

An entry counts once: if its place is beyond the last one heard of its source. What was heard must
fit the offset that a new owner begins at, so each change remembers from which offset on, and up to
which, what was heard before it held.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from stream.events import Source

SOURCES_MAX: Final = 8_192
CHANGES_MAX: Final = 256

Places = dict[tuple[str, int, int], int]
Stored = tuple[tuple[str, int, int, int], ...]


class Heard:
    """The last place heard of each source, now and at the offsets a checkpoint may name."""

    def __init__(self, stored: Stored) -> None:
        self._places: Places = {
            (topic, partition, log): offset for topic, partition, log, offset in stored
        }
        # What held up to, not including, an offset; the last one holds from the batch before on.
        self._before: deque[tuple[int, int, Stored]] = deque()
        self._held: Stored = ()
        self._since = 0
        self._has_changed = False
        self.repeated = 0

    def is_new(self, source: Source) -> bool:
        """Tell whether an entry is heard for the first time, and remember its place."""
        key = source.name
        if self._places.get(key, -1) >= source.offset or (
            key not in self._places and len(self._places) >= SOURCES_MAX
        ):
            self.repeated += 1
            return False
        if not self._has_changed:
            self._has_changed = True
            self._held = self.now()
        self._places[key] = source.offset
        return True

    def applied(self, start: int, end: int) -> None:
        """Note that the records of [start, end) were applied, with what was heard in them."""
        if self._has_changed:
            self._before.append((self._since, start, self._held))
            self._since, self._has_changed = end, False
            while len(self._before) > CHANGES_MAX:
                # Coarser: a checkpoint among these goes back to the end of the one before.
                del self._before[CHANGES_MAX // 2]

    def at(self, offset: int) -> tuple[int, Stored]:
        """Return the offset, or the last one before it, at which what was heard is known."""
        if offset >= self._since:
            # A batch may be decoded, and so heard, and not be applied yet.
            return offset, self._held if self._has_changed else self.now()
        for since, until, held in reversed(self._before):
            if offset >= since:
                return min(offset, until), held
        return offset, self._before[0][2]

    def forget_before(self, offset: int) -> None:
        """Forget what held at offsets that no checkpoint will name again."""
        while self._before and self._before[0][1] < offset:
            self._before.popleft()

    def now(self) -> Stored:
        """Return the last place heard of each source."""
        return tuple((*key, offset) for key, offset in sorted(self._places.items()))

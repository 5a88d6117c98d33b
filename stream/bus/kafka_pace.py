"""How much a fetch asks for: what comes in good time over the link there is.

A request that is not answered within `request_ms` is given up, and with it all that had come of the
answer: over a narrow link a large fetch would be asked for again and again and never end. So the
first asks for little, each that comes soon and full lets the next ask for twice as much, and each
that takes long for half. A fast link is at full size after some tenths of a second.

A broker sends at least one batch whatever it is asked for, so a batch that alone takes longer than
`request_ms` still never comes: at 60 KB/s and 20 s that is one of more than a megabyte.
"""

from __future__ import annotations

from typing import Final

FIRST_BYTES: Final = 1 << 18
LEAST_BYTES: Final = 1 << 14
# Of the time that a request may take: sooner than the one, more; later than the other, less.
SOON: Final = 1 / 16
LATE: Final = 1 / 4


class Pace:
    """The size of the next fetch, in bytes, by how long the ones before took."""

    def __init__(self, bytes_max: int, request_s: float) -> None:
        self._bytes_max = bytes_max
        self._request_s = request_s
        self.bytes = min(FIRST_BYTES, bytes_max)

    def came(self, size: int, took_s: float) -> None:
        """Learn how long an answer of so many bytes took; a wait for news is no sign of a link."""
        if size * 2 < self.bytes:
            return
        if took_s < self._request_s * SOON:
            self.bytes = min(self._bytes_max, self.bytes * 2)
        elif took_s > self._request_s * LATE:
            self.bytes = max(min(LEAST_BYTES, self._bytes_max), self.bytes // 2)

    def gave_up(self) -> None:
        """Learn that an answer did not come in time."""
        self.bytes = max(min(LEAST_BYTES, self._bytes_max), self.bytes // 4)

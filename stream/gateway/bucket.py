"""A token bucket in integers: which requests of a throttled subject this gateway lets pass.

The level is counted in units that make everything whole: a request costs `per_ms` x gateways, a
millisecond earns `permits`. No rounding, so any spacing of the same calls lets the same number
pass. A bucket starts full: the permits of one interval at this gateway's share, at least one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.events import Rate

NEVER_MS: Final = 1 << 62
"""The wait at a rate of zero."""


class Bucket(msgspec.Struct, gc=False):
    """The level of one throttle at this gateway; make one by `bucket_of`.

    Units: `permits` earned per millisecond; `cost`, `capacity`, `level` in the unit above.
    """

    permits: int
    cost: int
    capacity: int
    level: int
    filled_ms: int = 0

    def refill(self, now_ms: int) -> int:
        """Credit the time since the last call; return the ms until a request may pass, 0 if now.

        A clock that stepped back earns nothing and takes nothing.
        """
        elapsed_ms = now_ms - self.filled_ms
        if elapsed_ms:
            self.filled_ms = now_ms
            if elapsed_ms > 0:
                level = self.level + elapsed_ms * self.permits
                self.level = level if level < self.capacity else self.capacity
        missing = self.cost - self.level
        if missing <= 0:
            return 0
        return -(-missing // self.permits) if self.permits else NEVER_MS

    def take(self) -> None:
        """Let one request pass.

        Requires: `refill` said 0 at this instant.
        """
        self.level -= self.cost

    def inherit(self, earlier: Bucket) -> None:
        """Start with the requests that an earlier bucket of the same rule had left.

        Whole requests carry over, whatever the two rates; so a renewal gives nothing away.
        """
        if (self.permits, self.cost) == (earlier.permits, earlier.cost):
            self.level = earlier.level
        else:
            self.level = min(self.capacity, earlier.level // earlier.cost * self.cost)
        self.filled_ms = earlier.filled_ms


def bucket_of(rate: Rate) -> Bucket:
    """Return a full bucket for one gateway's share of a rate.

    Requires: rate.permits >= 0, rate.per_ms > 0, rate.gateways > 0.
    """
    cost = rate.per_ms * rate.gateways
    capacity = max(rate.permits * rate.per_ms, cost) if rate.permits else 0
    return Bucket(rate.permits, cost, capacity, capacity)

"""A token bucket in integers: which requests of a throttled subject this gateway lets pass.

The level is counted in units that make everything whole: a request costs `per_ms` x gateways, a
millisecond earns `permits`. No rounding, so any spacing of the same calls lets the same number
pass. A bucket starts full: the permits of one interval at this gateway's share, at least one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from stream.events import Rate

NEVER_MS: Final = 1 << 62
"""The wait at a rate of zero."""

PACES_MAX: Final = 1_024


class Pace(msgspec.Struct, frozen=True, gc=False):
    """One gateway's share of a rate: few of them, shared by many buckets.

    Units: `permits` earned per millisecond; `cost`, `capacity` in the unit above.
    """

    permits: int
    cost: int
    capacity: int


class Bucket(msgspec.Struct, gc=False):
    """The level of one throttle at this gateway, in the unit above; make one by `bucket_of`."""

    pace: Pace
    level: int
    filled_ms: int = 0

    def refill(self, now_ms: int) -> int:
        """Credit the time since the last call; return the ms until a request may pass, 0 if now.

        A clock that stepped back earns nothing and takes nothing.
        """
        pace = self.pace
        level = self.level
        elapsed_ms = now_ms - self.filled_ms
        if elapsed_ms:
            self.filled_ms = now_ms
            if elapsed_ms > 0:
                level += elapsed_ms * pace.permits
                level = level if level < pace.capacity else pace.capacity
                self.level = level
        missing = pace.cost - level
        if missing <= 0:
            return 0
        return -(-missing // pace.permits) if pace.permits else NEVER_MS

    def take(self) -> None:
        """Let one request pass.

        Requires: `refill` said 0 at this instant.
        """
        self.level -= self.pace.cost

    def admit(self, now_ms: int) -> int:
        """Let one request pass and return 0, or return the ms until one may."""
        wait_ms = self.refill(now_ms)
        if not wait_ms:
            self.level -= self.pace.cost
        return wait_ms

    def inherit(self, earlier: Bucket) -> None:
        """Start with the requests that an earlier bucket of the same rule had left.

        Whole requests carry over, whatever the two rates; so a renewal gives nothing away.
        """
        pace, before = self.pace, earlier.pace
        if (pace.permits, pace.cost) == (before.permits, before.cost):
            self.level = earlier.level
        else:
            self.level = min(pace.capacity, earlier.level // before.cost * pace.cost)
        self.filled_ms = earlier.filled_ms


def bucket_of(rate: Rate) -> Bucket:
    """Return a full bucket for one gateway's share of a rate.

    Requires: rate.permits >= 0, rate.per_ms > 0, rate.gateways > 0.
    """
    pace = _pace_of(rate.permits, rate.per_ms, rate.gateways)
    return Bucket(pace, pace.capacity)


@lru_cache(maxsize=PACES_MAX)
def _pace_of(permits: int, per_ms: int, gateways: int) -> Pace:
    cost = per_ms * gateways
    return Pace(permits, cost, max(permits * per_ms, cost) if permits else 0)

"""The doors a worker needs, made anew for each session: a broken connection is never patched."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from stream.bus import EventSource, LogReader, Publisher, TopicAdmin
from stream.signing import Signer, Trust
from stream.store import Store


def _no_zones(zone: str) -> EventSource:
    raise AssertionError(f"no doors for zones were given, and there is zone {zone}")


class Doors(NamedTuple):
    """Makers of the doors of one session; `nonce` names an owner, and never the same twice.

    `library` makes another reader, for what may take long to read: baselines.
    `zone` makes a member of the group that reads a zone's topic, a group for each zone.
    """

    source: Callable[[], EventSource]
    publisher: Callable[[], Publisher]
    reader: Callable[[], LogReader]
    library: Callable[[], LogReader]
    admin: Callable[[], TopicAdmin]
    store: Callable[[], Store]
    nonce: Callable[[], str] = partial(secrets.token_hex, 12)
    zone: Callable[[str], EventSource] = _no_zones


class Keys(NamedTuple):
    """Who signs what a worker publishes, and whom it believes; None where no keys are set."""

    signer: Signer | None = None
    trust: Trust | None = None


NO_KEYS: Final = Keys()


class SystemClock:
    """The real time."""

    def wall_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

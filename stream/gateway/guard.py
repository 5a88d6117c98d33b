"""What keys are for: records that nobody may have written, and what is wrong with each.

Whoever can write to the topic and has no key can still write what once was right. So beside the
signature stands what was true already: a record of a cause that is accounted for and not held was
ended, one that is over was tombstoned, a heartbeat that says less than the last one is an old one.
A tombstone carries nothing that could be signed: it is explained by the expiry of what it ends, and
by nothing else, so that nothing is ended that binds. The broker's append time says when; producers
cannot choose it (LogAppendTime).
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

from stream.bus import Record
from stream.events import EnforcementValue, Heartbeat, Signed, SubjectRecord
from stream.signing import FAULTS, SignatureFault, Trust

from .holdings import Holdings
from .homes import Homes

Refusal = SignatureFault | Literal["replayed", "expired", "unexplained"]
REFUSALS: Final[tuple[Refusal, ...]] = (*FAULTS, "replayed", "expired", "unexplained")

LIFT_REACH_MS: Final = 5_000
"""How far the clock of whoever signs a lift may be behind the broker's, so that it reaches now."""

PURGE_EVERY_MS: Final = 30_000
PURGE_SLACK_MS: Final = 10_000


class Guard:
    """Says why a record is refused. `warned` counts what a mode `warn` let pass.

    `tombstone_after_ms`: how long after expiry workers tombstone, at least.
    """

    def __init__(
        self, trust: Trust, holdings: Holdings, homes: Homes, tombstone_after_ms: int
    ) -> None:
        self._trust = trust
        self._holdings = holdings
        self._homes = homes
        self._tombstone_after_ms = tombstone_after_ms
        self._purged_ms: dict[int, int] = {}
        self.warned: Counter[str] = Counter()

    def refusal(self, record: Record, signed: Signed, value: EnforcementValue) -> Refusal | None:
        """Return why a record that is no tombstone must not be taken, None if it may.

        Requires: `record.value` is the payload and `value` what it says.
        """
        assert record.key is not None, "the key was compared"
        fault = self._trust.fault_of(record.key, record.append_ms, signed, value)
        return self._decided(fault or self._replay(record, record.key, value))

    def tombstone_refusal(self, record: Record) -> Refusal | None:
        """Return why a tombstone must not be taken: what it ends is not over yet."""
        assert record.key is not None, "a record without a key is malformed"
        held = self._holdings.get(record.key)
        is_explained = held is None or record.append_ms >= held.over_ms
        return None if is_explained else self._decided("unexplained")

    def lifts_before_ms(self, append_ms: int, at_ms: int) -> int:
        """Return the time before which a lift cancels: a lift written again reaches no further."""
        return min(append_ms, at_ms + LIFT_REACH_MS)

    def purge_before_ms(self, heartbeat: Heartbeat) -> int:
        """Return the time before which what is over must be gone from a table that disagrees.

        What was written again, and is over since, nobody will tombstone. 0: nothing now.
        Mutates: when it was asked for last.
        """
        home = heartbeat.partition
        is_early = heartbeat.at_ms < self._purged_ms.get(home, 0) + PURGE_EVERY_MS
        if is_early or not self._homes.disagrees(home):
            return 0
        self._purged_ms[home] = heartbeat.at_ms
        return max(0, heartbeat.at_ms - self._tombstone_after_ms - PURGE_SLACK_MS)

    def _replay(self, record: Record, key: bytes, value: EnforcementValue) -> Refusal | None:
        """Return why a record, though it was right once, is not now."""
        if isinstance(value, Heartbeat):
            is_behind = self._homes.is_behind(value, record.append_ms)
            return "replayed" if is_behind else None
        if not isinstance(value, SubjectRecord) or self._holdings.get(key) is not None:
            return None
        if record.append_ms >= value.expires_at_ms + self._tombstone_after_ms:
            return "expired"
        is_ended = value.issuer == "home" and self._homes.accounts_for(
            value.partition, value.version
        )
        return "replayed" if is_ended else None

    def _decided(self, fault: Refusal | None) -> Refusal | None:
        if fault is None or self._trust.is_strict:
            return fault
        self.warned[fault] += 1
        return None

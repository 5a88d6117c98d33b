"""What keys are for: records that nobody may have written, and what is wrong with each.

Whoever can write to the topic and has no key can still write what once was right. So beside the
signature stands what was true already: a record of a cause that is accounted for and not held was
ended, one that is over was tombstoned, a heartbeat that says less than the last one is an old one.
A tombstone carries nothing that could be signed: it is explained by its time, when workers write
them for what has expired, and by nothing else, so that nothing is ended that binds or is counted.
The broker's append time says when; producers cannot choose it (LogAppendTime).
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

from stream.bus import Record
from stream.events import EnforcementValue, Heartbeat, Signed, SubjectRecord
from stream.signing import FAULTS, SignatureFault, Trust

from .holdings import NO_HOME, Holding, Holdings
from .homes import Homes

Refusal = SignatureFault | Literal["replayed", "expired", "unexplained"]
REFUSALS: Final[tuple[Refusal, ...]] = (*FAULTS, "replayed", "expired", "unexplained")

LIFT_REACH_MS: Final = 5_000
"""How far the clock of whoever signs a lift may be behind the broker's, so that it reaches now."""


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
        self.warned: Counter[str] = Counter()

    def refusal(self, record: Record, signed: Signed, value: EnforcementValue) -> Refusal | None:
        """Return why a record that is no tombstone must not be taken, None if it may.

        Requires: `record.value` is the payload and `value` what it says.
        """
        assert record.key is not None, "the key was compared"
        fault = self._trust.fault_of(record.key, record.append_ms, signed, value)
        return self._decided(fault or self._replay(record, record.key, value))

    def tombstone_refusal(self, record: Record) -> Refusal | None:
        """Return why a tombstone must not be taken: no worker would have written it yet."""
        assert record.key is not None, "a record without a key is malformed"
        held = self._holdings.get(record.key)
        if held is None:
            return None
        after_ms = self._tombstone_after_ms if held.home != NO_HOME else 0
        is_explained = record.append_ms >= held.over_ms + after_ms
        return None if is_explained else self._decided("unexplained")

    def lifts_before_ms(self, append_ms: int, at_ms: int) -> int:
        """Return the time before which a lift cancels: a lift written again reaches no further."""
        return min(append_ms, at_ms + LIFT_REACH_MS)

    def forgotten(self, heartbeat: Heartbeat) -> list[Holding]:
        """Hold nothing more of what is long over, where a table disagrees; return what it was.

        Before a worker says what it has published, it tombstones what is over by its own clock. A
        tombstone that came too early by the broker's was not believed; and what was written again,
        and is over since, nobody will tombstone.
        """
        if not self._homes.disagrees(heartbeat.partition):
            return []
        before_ms = heartbeat.at_ms - self._tombstone_after_ms
        return self._holdings.drop_over(heartbeat.partition, before_ms)

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
            value.partition, value.version, value.epoch
        )
        return "replayed" if is_ended else None

    def _decided(self, fault: Refusal | None) -> Refusal | None:
        if fault is None or self._trust.is_strict:
            return fault
        self.warned[fault] += 1
        return None

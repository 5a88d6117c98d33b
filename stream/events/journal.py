"""What the log does not say but decisions depend on, as entries of the topic `journal`.

An entry holds for events of its partition from `from_offset` on. `Conditions` are written whole,
never as differences: whoever reads the latest entry that reaches back to a checkpoint knows
everything, and the journal position in a checkpoint is simply that of the entry in force.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final

import msgspec

from .format import decode_known

FORMAT: Final = 1
GROWN_FORMAT: Final = 2  # of entries that a version without growth must not misread
FULL_FORMAT: Final = 3  # of entries that a version without caps must not misread
LEARNED_FORMAT: Final = 3  # likewise without baselines: an entry of it may carry either
BRAKE_FORMAT: Final = 4  # of entries that a version without a brake must not misread
FORMAT_MAX: Final = BRAKE_FORMAT
POLICY_BYTES_MAX: Final = 262_144
ACTS_MAX: Final = 1_000
FULL_MAX: Final = 256
TIERS_MAX: Final = 257  # every class of a policy, and `other`
ENTRY_BYTES_MAX: Final = 900_000
MET: Final = -(1 << 62)
"""The offset of a lift that no row waits for any more."""


class Exemption(msgspec.Struct, frozen=True, kw_only=True):
    """A workload left alone until `until_ms` of its row's clock."""

    workload: str
    until_ms: int
    reason: str


class Lift(msgspec.Struct, frozen=True):
    """What was in force on a workload before `offset` is cancelled at its next event.

    `at_ms` is when the operator said so, by which a lift is recognised.
    """

    workload: str
    offset: int
    at_ms: int


class Ancestor(msgspec.Struct, frozen=True):
    """A partition that workloads came from, and its era then.

    Its offsets less `shift` are before all of ours.
    """

    partition: int
    era: int
    shift: int


class Growth(msgspec.Struct, frozen=True):
    """The numbers of partitions there have been, and where a new one's workloads were before."""

    counts: tuple[int, ...]
    ancestors: tuple[Ancestor, ...] = ()


DomainHash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
DomainHashes = Annotated[tuple[DomainHash, ...], msgspec.Meta(max_length=FULL_MAX)]


class Full(msgspec.Struct, frozen=True):
    """Which trust domains have no room for another workload, by their keyed hash.

    `known`: where there are too many trust domains, no other than these has; else None.
    """

    domains: DomainHashes = ()
    known: DomainHashes | None = None


class InForce(msgspec.Struct, frozen=True):
    """The baseline in force, empty where it was taken back, and the one before it.

    `at_ms` is when somebody said so, by which later words are told from earlier ones. `shed` names
    the mode in which nothing is compared with it.
    """

    version: Annotated[str, msgspec.Meta(max_length=64)]
    previous: Annotated[str, msgspec.Meta(max_length=64)] = ""
    at_ms: int = 0
    shed: Annotated[str, msgspec.Meta(max_length=64)] = ""


TierName = Annotated[str, msgspec.Meta(max_length=64)]


class Brake(msgspec.Struct, frozen=True):
    """In which tiers, classes of the policy by name, rules on learned evidence enforce nobody new.

    What they decide there goes out as shadow, unless it renews what is enforced.
    """

    tiers: Annotated[tuple[TierName, ...], msgspec.Meta(max_length=TIERS_MAX)]


class Conditions(msgspec.Struct, frozen=True, kw_only=True, tag="conditions", tag_field="type"):
    """Everything that holds in a partition from `from_offset` on.

    `era` rises whenever decisions could differ from those made before at the same offsets.
    `log_era`: the era in which this log began; offsets of rows of an earlier era mean nothing
    here. Entries hold in every later era of the same log. `fresh_era`: rows of an earlier era are
    gone, what they counted is counted again. `forgotten_before_ms`: rows whose clock is older are
    gone. Rows that are gone restart at their next event.
    `topic_id`: the broker's id of the log, empty where it has none.
    `stopped`: enforcement is stopped until this row-clock time; 0 when it is not.
    `growth`: of its numbers of partitions the last one is in force: a workload's home is that of
    its key among so many.
    `full`: a workload of which there is no row, or none that is not gone, gets none where its trust
    domain is full, and its events are refused.
    `epoch`: its owner's, so that who reads from here on knows it; old entries do not say.
    `baseline`: what tasks are compared with, unset where nobody has said.
    `brake`: where rules on learned evidence enforce nobody new, unset where they may everywhere.
    """

    format: int = FORMAT
    nonce: str
    epoch: int | msgspec.UnsetType = msgspec.UNSET
    era: int
    from_offset: int
    policy_hash: str
    policy_text: Annotated[str, msgspec.Meta(max_length=POLICY_BYTES_MAX)]
    stopped_until_ms: int = 0
    exemptions: Annotated[tuple[Exemption, ...], msgspec.Meta(max_length=ACTS_MAX)] = ()
    lifts: Annotated[tuple[Lift, ...], msgspec.Meta(max_length=ACTS_MAX)] = ()
    forgotten_before_ms: int = 0
    log_era: int = 0
    fresh_era: int = 0
    modes: tuple[str, ...] = ()
    topic_id: str = ""
    growth: Growth | msgspec.UnsetType = msgspec.UNSET
    full: Full | msgspec.UnsetType = msgspec.UNSET
    baseline: InForce | msgspec.UnsetType = msgspec.UNSET
    brake: Brake | msgspec.UnsetType = msgspec.UNSET

    @property
    def braked(self) -> tuple[str, ...]:
        """Return the tiers in which rules on learned evidence enforce nobody new."""
        return self.brake.tiers if self.brake else ()

    @property
    def baseline_version(self) -> str:
        """Return the version of the baseline in force, empty for none."""
        return self.baseline.version if self.baseline else ""

    @property
    def shed(self) -> str:
        """Return by which mode learned detectors are off, empty where they are not."""
        return self.baseline.shed if self.baseline else ""

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the numbers of partitions there have been, none where nobody has said."""
        return self.growth.counts if self.growth else ()

    @property
    def ancestors(self) -> tuple[Ancestor, ...]:
        """Return where the workloads of a partition that growth has added were before."""
        return self.growth.ancestors if self.growth else ()


def with_full(conditions: Conditions, full: Full | None) -> Conditions:
    """Return conditions under which these trust domains are full, or none."""
    return _formatted(
        msgspec.structs.replace(conditions, full=msgspec.UNSET if full is None else full)
    )


def with_brake(conditions: Conditions, tiers: Collection[str]) -> Conditions:
    """Return conditions under which the brake holds these tiers, or none."""
    brake = Brake(tuple(sorted(tiers))) if tiers else msgspec.UNSET
    return _formatted(msgspec.structs.replace(conditions, brake=brake))


def _formatted(conditions: Conditions) -> Conditions:
    """Return conditions in the lowest format whose readers know all that they say."""
    kind = GROWN_FORMAT if len(conditions.counts) > 1 else FORMAT
    if conditions.full is not msgspec.UNSET:
        kind = FULL_FORMAT
    if conditions.baseline is not msgspec.UNSET:
        kind = LEARNED_FORMAT
    if conditions.brake is not msgspec.UNSET:
        kind = BRAKE_FORMAT
    return msgspec.structs.replace(conditions, format=kind)


class Owner(msgspec.Struct, frozen=True, kw_only=True, tag="owner", tag_field="type"):
    """A worker took the partition; later entries that carry another nonce do not count."""

    format: int = FORMAT
    nonce: str
    epoch: int
    checkpoint: int
    worker: str = ""


JournalEntry = Conditions | Owner
TYPES: Final = ("conditions", "owner")

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[JournalEntry] = msgspec.json.Decoder(JournalEntry)


def encode_entry(entry: JournalEntry) -> bytes:
    """Return the JSON encoding of a journal entry."""
    return _encoder.encode(entry)


def decode_entry(data: bytes) -> JournalEntry:
    """Return a journal entry.

    Errors: NewerFormat; other ValueErrors or RecursionError when the bytes are not one.
    """
    if len(data) > ENTRY_BYTES_MAX:
        raise ValueError(f"journal entry of {len(data)} bytes, at most {ENTRY_BYTES_MAX}")
    return decode_known(_decoder, data, FORMAT_MAX, "a journal entry", TYPES)

"""What the log does not say but decisions depend on, as entries of the topic `journal`.

An entry holds for events of its partition from `from_offset` on. `Conditions` are written whole,
never as differences: whoever reads the latest entry that reaches back to a checkpoint knows
everything, and the journal position in a checkpoint is simply that of the entry in force.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from .format import decode_known

FORMAT: Final = 1
POLICY_BYTES_MAX: Final = 262_144
ACTS_MAX: Final = 1_000
ENTRY_BYTES_MAX: Final = 900_000


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


class Conditions(msgspec.Struct, frozen=True, kw_only=True, tag="conditions", tag_field="type"):
    """Everything that holds in a partition from `from_offset` on.

    `era` rises whenever decisions could differ from those made before at the same offsets.
    `log_era`: the era in which this log began; offsets of rows of an earlier era mean nothing
    here. Entries hold in every later era of the same log. `fresh_era`: rows of an earlier era are
    gone, what they counted is counted again. `forgotten_before_ms`: rows whose clock is older are
    gone. Rows that are gone restart at their next event.
    `topic_id`: the broker's id of the log, empty where it has none.
    `stopped`: enforcement is stopped until this row-clock time; 0 when it is not.
    """

    format: int = FORMAT
    nonce: str
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
    return decode_known(_decoder, data, FORMAT, "a journal entry", TYPES)

"""What every store does alike: the bounds of a save, its id, checkpoint bytes, who is refused.

Here, so that the memory store and the Redis one cannot come to differ in it. A decision that a
script must take inside Redis (is this write the next one?) is written there and in `memory`, and
the conformance suite holds the two together; what a refusal means is said once, in `refusal`.
"""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import NamedTuple

import msgspec

from stream.errors import NewerFormat, OwnershipLost, RowCorrupt

from .contract import (
    GROWN_FORMAT,
    ROWS_PER_SAVE_MAX,
    SAVE_BYTES_MAX,
    Bequest,
    Checkpoint,
    Fence,
    Save,
    StoreForgot,
)

ID_END = 1 << 64
CHECKPOINT_BYTES_MAX = 1_048_576
INTEGER_END = 1 << 63

_decoder = msgspec.json.Decoder(Checkpoint)


class Held(NamedTuple):
    """What a partition's state says of its owner and last write; None where nothing is stored."""

    nonce: str | None
    epoch: int
    number: int


def check_save(save: Save) -> None:
    """Crash on a save that no caller may make; saves come from our own code, never from outside."""
    assert save.nonce, "a save names its owner"
    assert save.number >= 0, save.number
    ids = [*(row_id for row_id, _ in save.rows), *save.forget]
    assert len(ids) <= ROWS_PER_SAVE_MAX, f"{len(ids)} rows in one save"
    assert len(save.domains) <= len(save.rows), "only rows that are written are counted"
    ids += save.names
    ids += chain.from_iterable(save.domains)
    assert not ids or (min(ids) >= 0 and max(ids) < ID_END), "an id has 64 bits, unsigned"
    size = sum(len(row) for _, row in save.rows)
    size += sum(len(key) + len(value) for key, value in save.records.items())
    size += sum(map(len, save.records_gone)) + sum(map(len, save.names.values()))
    assert size <= SAVE_BYTES_MAX, f"{size} bytes in one save"


def check_bequest(partition: int, first_partitions: int, bequest: Bequest) -> None:
    """Crash on a bequest that no caller may make."""
    is_near = group_of(partition, first_partitions) == group_of(bequest.child, first_partitions)
    assert is_near, f"{bequest.child} is no child of {partition}: they lie in different groups"
    assert bequest.child > partition, "a child has the higher number"
    size = sum(len(key) + len(value) for key, value in bequest.records.items())
    assert size <= SAVE_BYTES_MAX, f"{size} bytes in one bequest"


def write_id(save: Save | Bequest) -> bytes:
    """Return the id of a write, the same for a repeat and for nothing else.

    It covers the owner, the number and all that is written, each with its length, so two
    different saves under one number are told apart. `epoch` says the same as the nonce.
    Cost: 0.8 us for a row of 600 bytes, most of it the hash.
    """
    return hashlib.sha256(msgspec.msgpack.encode(save)).hexdigest()[:32].encode()


def group_of(partition: int, first_partitions: int) -> int:
    """Return the group that a partition's rows lie in, whatever the number of partitions is."""
    return partition % first_partitions if first_partitions else partition


def must_be_born_of(partition: int, first_partitions: int) -> bool:
    """Tell whether a partition is one that growth has added: nobody owns it before its birth."""
    return 0 < first_partitions <= partition


def unborn(partition: int) -> StoreForgot:
    """Return the error for a claim of a partition that has no birth.

    Whoever claims has seen one; and a claim that arrives late, at a store that forgot, would
    else let a write that arrives late stand where the birth must be.
    """
    return StoreForgot(f"partition {partition}: the store lost its birth")


def is_ours(held: Held, fence: Fence) -> bool:
    """Tell whether a store in this state still knows the claim and every write of the fence."""
    return held.nonce == fence.nonce and held.number >= fence.number


def refusal(partition: int, held: Held, fence: Fence) -> OwnershipLost:
    """Return the error for an owner with this fence that met a store in this state.

    A newer claim has a higher epoch. Another nonce with a lower one is an older owner's: the
    store lost our claim, and nobody else is going to take the partition.
    """
    ours = f"ours is write {fence.number} of epoch {fence.epoch}"
    if held.nonce is None:
        return StoreForgot(f"partition {partition}: the store holds no claim of it, {ours}")
    theirs = f"the store holds write {held.number} of epoch {held.epoch}"
    if held.nonce == fence.nonce and held.number < fence.number:
        return StoreForgot(f"partition {partition}: {theirs}, {ours}: it lost acknowledged writes")
    if held.nonce != fence.nonce and held.epoch < fence.epoch:
        return StoreForgot(f"partition {partition}: {theirs}, {ours}: it lost our claim")
    if held.nonce == fence.nonce:
        return OwnershipLost(f"partition {partition}: {theirs} under our own name, {ours}")
    return OwnershipLost(f"partition {partition}: another worker owns it, {theirs}, {ours}")


def claimed_meanwhile(partition: int, epoch: int) -> OwnershipLost:
    """Return the error for a claim that comes after another one than it has seen."""
    return OwnershipLost(
        f"partition {partition}: another worker claimed it meanwhile, in epoch {epoch}"
    )


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the stored form of a checkpoint: JSON, so that a person can read it there."""
    return msgspec.json.encode(checkpoint)


def decode_checkpoint(partition: int, stored: bytes | None) -> Checkpoint | None:
    """Return the checkpoint of its stored form.

    Errors: NewerFormat; RowCorrupt when these bytes cannot have been written by us.
    """
    if stored is None:
        return None
    place = f"the checkpoint of partition {partition}"
    if len(stored) > CHECKPOINT_BYTES_MAX:
        raise RowCorrupt(f"{place} has {len(stored)} bytes, {CHECKPOINT_BYTES_MAX} is the limit")
    try:
        checkpoint = _decoder.decode(stored)
    except (ValueError, RecursionError) as error:
        _check_format(place, stored)
        raise RowCorrupt(f"{place} does not decode: {error}") from error
    if checkpoint.format > GROWN_FORMAT:
        _check_format(place, stored)
    for name, value in zip(
        checkpoint.__struct_fields__, msgspec.structs.astuple(checkpoint), strict=True
    ):
        if isinstance(value, int) and not -INTEGER_END <= value < INTEGER_END:
            raise RowCorrupt(f"{place} does not decode: {name} is beyond 64 bits")
    return checkpoint


def claimed_checkpoint(partition: int, stored: bytes | None) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint that a claim finds, or none and why it cannot be read.

    A new owner can do without: it replays what Kafka still holds. Errors: NewerFormat.
    """
    try:
        return decode_checkpoint(partition, stored), ""
    except RowCorrupt as error:
        return None, error.message


class _Seen(msgspec.Struct):
    """What a checkpoint of any version says of itself."""

    format: int = 1


_seen_decoder = msgspec.json.Decoder(_Seen)


def _check_format(place: str, stored: bytes) -> None:
    """Refuse a checkpoint of a newer version. Errors: NewerFormat."""
    try:
        found = _seen_decoder.decode(stored).format
    except (ValueError, RecursionError):
        return
    if found > GROWN_FORMAT:
        raise NewerFormat(f"{place} has format {found}, and this version reads {GROWN_FORMAT}")

"""A baseline as bytes: canonical, named by their hash, and not believed before they are checked.

    bytes 0-7     `SEBASE` and the format version, 16 bits
    bytes 8-31    sizes: of the facts in bytes; entries, classes, places
    then          the facts (JSON, keys in order, padded to 8 bytes), and the three arrays
    last 32       SHA-256 of all before

All numbers little-endian; entries ascend by key, so that equal baselines are equal bytes. Format 2
has a tail for each part of habits, format 1, which nothing else sets apart, none or those of all
but one: a baseline that measured no habits is written as it always was. The bytes
may come from anywhere: sizes are bounded before anything is read, and every place that a kernel
will follow is checked. Whether the hash is the right one is for whoever promoted it to say.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any, Final

import msgspec
import numpy as np

from stream.errors import ConfigError, NewerFormat
from stream.events import TIME_MS_MAX

from .baseline import (
    CANDIDATES_MAX,
    GROUP,
    GROUPS_MAX,
    NAMES_MAX,
    PARTS_BEFORE,
    PARTS_MEASURED,
    PURPOSES_MAX,
    Baseline,
    Facts,
    Tail,
)
from .baseline import MODES as MODES_MAX
from .entries import ENTRIES_MAX, ENTRY

MAGIC: Final = b"SEBASE"
FORMAT_VERSION: Final = 2
FORMAT_BEFORE: Final = 1
FACTS_BYTES_MAX: Final = 1 << 26
COUNT_MAX: Final = 1 << 53
BASELINE_BYTES_MAX: Final = FACTS_BYTES_MAX + ENTRY.itemsize * ENTRIES_MAX + (1 << 24)
_HEAD: Final = struct.Struct("<6sHQIII4x")
DIGEST_BYTES: Final = 32
COMPARED_AT_ONCE: Final = 1 << 16
_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Facts)


def encode_baseline(baseline: Baseline) -> bytes:
    """Return a baseline's bytes."""
    facts = _encoder.encode(baseline.facts)
    facts += b" " * (-len(facts) % 8)
    arrays = baseline.listed, baseline.groups, baseline.places
    version = FORMAT_VERSION if len(baseline.facts.habits) == PARTS_MEASURED else FORMAT_BEFORE
    head = _HEAD.pack(MAGIC, version, len(facts), *map(len, arrays))
    body = b"".join((head, facts, *(each.tobytes() for each in arrays)))
    return body + hashlib.sha256(body).digest()


def version_of(data: bytes | memoryview) -> str:
    """Return the name of a baseline's bytes: the start of their hash."""
    return data[-DIGEST_BYTES:].hex()[:16]


def decode_baseline(data: bytes | memoryview, file: str) -> Baseline:
    """Return the baseline of some bytes.

    Errors: ConfigError `file: reason`; NewerFormat.
    """
    if len(data) < _HEAD.size + DIGEST_BYTES or data[: len(MAGIC)] != MAGIC:
        raise ConfigError(
            f"{file}: this is no baseline", hint="`enforcer baseline learn` makes one"
        )
    _, version, facts_bytes, *counts = _HEAD.unpack_from(data)
    # Nothing is cut out of the bytes: that copies, and whoever copies much keeps all other threads.
    whole = memoryview(data)
    if hashlib.sha256(whole[:-DIGEST_BYTES]).digest() != data[-DIGEST_BYTES:]:
        raise ConfigError(f"{file}: its hash is wrong, so it is not what was written")
    if version > FORMAT_VERSION:
        raise NewerFormat(f"{file}: format {version} of baselines")
    limits = ENTRIES_MAX, GROUPS_MAX, PURPOSES_MAX
    kinds = np.dtype(ENTRY), np.dtype(GROUP), np.dtype(np.uint64)
    if facts_bytes > FACTS_BYTES_MAX or any(
        count > limit for count, limit in zip(counts, limits, strict=True)
    ):
        raise ConfigError(f"{file}: it is larger than a baseline may be")
    sizes = [count * kind.itemsize for count, kind in zip(counts, kinds, strict=True)]
    if version < FORMAT_BEFORE or len(data) != _HEAD.size + facts_bytes + sum(sizes) + DIGEST_BYTES:
        raise ConfigError(f"{file}: its length is wrong")
    place = _HEAD.size + facts_bytes
    arrays = []
    for kind, size in zip(kinds, sizes, strict=True):
        arrays.append(np.frombuffer(whole[place : place + size], kind))
        place += size
    try:
        facts = _decoder.decode(whole[_HEAD.size : _HEAD.size + facts_bytes])
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: its facts cannot be read: {error}") from error
    baseline = Baseline(facts, *arrays)
    parts = (PARTS_MEASURED,) if version == FORMAT_VERSION else (0, PARTS_BEFORE)
    if len(facts.habits) not in parts:
        raise ConfigError(f"{file}: its tails of habits are not those of its format")
    fault = _fault_of(baseline)
    if fault:
        raise ConfigError(f"{file}: {fault}")
    return baseline


def _fault_of(baseline: Baseline) -> str:
    """Return what is wrong with a baseline's parts, empty for nothing."""
    keys, groups = baseline.listed["key"], baseline.groups
    first, count = groups["first"].astype(np.int64), groups["count"].astype(np.int64)
    if len(keys) and (keys[0] == 0 or not _ascend(keys)):
        return "its entries are not in order"
    if not _ascend(groups["group"]):
        return "its classes are not in order"
    if ((first < 0) | (count < 1) | (count > CANDIDATES_MAX)).any() or (
        first + count > len(baseline.places)
    ).any():
        return "a class names purposes that are not there"
    facts = baseline.facts
    if len(facts.tails) not in (0, MODES_MAX) or not all(map(_is_sound, facts.tails)):
        return "its tails are none"
    if not all(map(_is_sound, facts.habits)):
        return "its tails of habits are none"
    counts = facts.key_id, facts.tasks, facts.seen, facts.aside, facts.workloads
    if not all(0 <= each < COUNT_MAX for each in counts):
        return "its counts are none"
    times = facts.from_ms, facts.until_ms, facts.apart_ms
    if not all(0 <= each <= TIME_MS_MAX for each in times):
        return "its times are none"
    if len(facts.names) > NAMES_MAX:
        return f"it has more than {NAMES_MAX} names"
    return ""


def _ascend(numbers: Any) -> bool:
    """Tell whether each number is larger than the one before; looks at some at a time."""
    for first in range(0, len(numbers) - 1, COMPARED_AT_ONCE):
        some = numbers[first : first + COMPARED_AT_ONCE + 1]
        if not (some[1:] > some[:-1]).all():
            return False
    return True


def _is_sound(tail: Tail) -> bool:
    """Tell whether numbers are those of a tail: finite, rates falling, bits rising."""
    numbers = (*tail.rates, *tail.bits, tail.beyond, tail.from_bits, tail.scale, tail.shape)
    if not all(math.isfinite(each) and abs(each) < 1e6 for each in numbers):
        return False
    rates, bits = list(tail.rates), list(tail.bits)
    return (
        tail.tasks >= 0
        and len(rates) == len(bits) <= 64
        and rates == sorted(set(rates), reverse=True)
        and bits == sorted(bits)
        and all(0 < each < 1 for each in rates)
        and (tail.tasks == 0 or 0 < tail.beyond < 1)
        and tail.scale >= 0
        and abs(tail.shape) <= 1
    )

"""One record of the log, read and believed or not: the edge where bytes become values.

A fault is data: it has a name, is counted, and the log goes on.
"""

from __future__ import annotations

from typing import Final, Literal

from stream.bus import Record
from stream.errors import NewerFormat
from stream.events import (
    EnforcementValue,
    Heartbeat,
    OperatorRecord,
    SubjectRecord,
    decode_value,
    heartbeat_key,
    operator_key,
    subject_key,
)
from stream.identity import InvalidIdentity, canonical_workload

from .binding import is_sound
from .bound import is_sound_operator
from .homes import is_sound_heartbeat

Fault = Literal["malformed", "foreign_format", "misplaced"]
FORMAT_KNOWN: Final = 1
KEY_BYTES_MAX: Final = 16_384


def read_value(record: Record, log_partitions: int) -> EnforcementValue | Fault:
    """Return the value of a record that is no tombstone, or why it is not believed.

    Requires: `record.value` is the payload, without a signature, and not None.
    """
    if record.key is None or record.value is None or len(record.key) > KEY_BYTES_MAX:
        return "malformed"
    try:
        value = decode_value(record.value)
        if value.format != FORMAT_KNOWN:
            return "foreign_format"
        if not _is_sound(value) or record.key != _key_of(value):
            return "malformed"
    except NewerFormat:
        return "foreign_format"
    # msgspec's errors and UnicodeError, of text that cannot be written again, are ValueErrors.
    except (ValueError, RecursionError):
        return "malformed"
    home = _home_of(value)
    if home is not None and record.partition != home % log_partitions:
        return "misplaced"
    return value


def _is_sound(value: EnforcementValue) -> bool:
    if isinstance(value, SubjectRecord):
        return is_sound(value)
    if isinstance(value, Heartbeat):
        return is_sound_heartbeat(value)
    return is_sound_operator(value) and _is_canonical(value)


def _is_canonical(value: OperatorRecord) -> bool:
    try:
        return not value.workload or canonical_workload(value.workload) == value.workload
    except InvalidIdentity:
        return False


def _key_of(value: EnforcementValue) -> bytes:
    if isinstance(value, SubjectRecord):
        return subject_key(value.issuer, value.subject)
    if isinstance(value, Heartbeat):
        return heartbeat_key(value.partition)
    return operator_key(value.workload)


def _home_of(value: EnforcementValue) -> int | None:
    """Return the home partition whose records and heartbeats must lie beside each other."""
    if isinstance(value, Heartbeat):
        return value.partition
    if isinstance(value, SubjectRecord) and value.issuer == "home":
        return value.partition
    return None

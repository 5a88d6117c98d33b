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
    partition, _, _, key, payload = record
    if key is None or payload is None or len(key) > KEY_BYTES_MAX:
        return "malformed"
    try:
        value = decode_value(payload)
        if value.format != FORMAT_KNOWN:
            return "foreign_format"
        if not _is_sound(value, key):
            return "malformed"
    except NewerFormat:
        return "foreign_format"
    # msgspec's errors and UnicodeError, of text that cannot be written again, are ValueErrors.
    except (ValueError, RecursionError):
        return "malformed"
    home = _home_of(value)
    if home is not None and partition != home % log_partitions:
        return "misplaced"
    return value


def _is_sound(value: EnforcementValue, key: bytes) -> bool:
    """Tell whether a value claims nothing impossible, and stands under its own key.

    Errors: UnicodeError for text that cannot be written again.
    """
    if isinstance(value, SubjectRecord):
        return is_sound(value) and key == subject_key(value.issuer, value.subject)
    if isinstance(value, Heartbeat):
        return is_sound_heartbeat(value) and key == heartbeat_key(value.partition)
    return _is_sound_act(value) and key == operator_key(value.workload)


def _is_sound_act(value: OperatorRecord) -> bool:
    try:
        is_canonical = not value.workload or canonical_workload(value.workload) == value.workload
    except InvalidIdentity:
        return False
    return is_canonical and is_sound_operator(value)


def _home_of(value: EnforcementValue) -> int | None:
    """Return the home partition whose records and heartbeats must lie beside each other."""
    if isinstance(value, SubjectRecord):
        return value.partition if value.issuer == "home" else None
    return value.partition if isinstance(value, Heartbeat) else None

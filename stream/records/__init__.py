"""Records as a log hands them over: whole batches of bytes, read by kernels into columns.

The payloads stay where they are, in one buffer; `Values` says where each begins and ends.
"""

from __future__ import annotations

from .batches import (
    CONTROL,
    CRC_DIFFERS,
    DAMAGED,
    HEADER_BYTES,
    OLD_FORMAT,
    TRANSACTIONAL,
    find_batches,
    read_batches,
)
from .crc import crc32c
from .values import Values

__all__ = [
    "CONTROL",
    "CRC_DIFFERS",
    "DAMAGED",
    "HEADER_BYTES",
    "OLD_FORMAT",
    "TRANSACTIONAL",
    "Values",
    "crc32c",
    "find_batches",
    "read_batches",
]

"""A workload's home partition: the partition that Kafka's own default partitioner would choose.

Every Java client puts a keyed record on `toPositive(murmur2(key)) % partitions`. Using the same
function, here and in the kernel, lets gateways use any producer that hashes like Java's, and lets
a worker notice an event that a producer with another hash put elsewhere.

Plain Python, for gateways and tests; a key of 40 bytes costs a few microseconds, so a caller that
sees the same workload again keeps the answer with it.

Source: Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`,
`BuiltInPartitioner.partitionForKey`; MurmurHash2 by Austin Appleby.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995
_WORD: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF


def positive_murmur2(key: bytes) -> int:
    """Return Kafka's murmur2 of a key with the sign bit cleared: 0 <= hash < 2**31.

    Cost: O(bytes); in words of four bytes, little-endian, then the rest byte by byte.
    """
    words, rest = divmod(len(key), 4)
    hashed = _SEED ^ len(key)
    for word in unpack_from(f"<{words}I", key):
        mixed = word * _MULTIPLIER & _WORD
        mixed = (mixed ^ mixed >> 24) * _MULTIPLIER & _WORD
        hashed = hashed * _MULTIPLIER & _WORD ^ mixed
    if rest:
        hashed = (hashed ^ int.from_bytes(key[-rest:], "little")) * _MULTIPLIER & _WORD
    hashed = (hashed ^ hashed >> 13) * _MULTIPLIER & _WORD
    return (hashed ^ hashed >> 15) & _POSITIVE


def home_partition(key: bytes, partitions: int) -> int:
    """Return the partition of `requests` that owns a key: 0 <= partition < partitions.

    Requires: partitions > 0; the key is the UTF-8 of a canonical workload, or of what else a
              topic is keyed by.
    """
    return positive_murmur2(key) % partitions

"""Home partitions against Kafka's own vectors."""

from __future__ import annotations

import pytest

from stream.identity import home_partition, positive_murmur2

# Kafka's UtilsTest.testMurmur2: key, signed hash.
VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
    (bytes([12, 42, 56, 24, 109, 111]), 274204207),
]


@pytest.mark.parametrize(("key", "signed"), VECTORS)
def test_the_hash_is_kafkas(key: bytes, signed: int) -> None:
    """The hash is Java's `toPositive(murmur2(key))`: the sign bit is masked, not negated."""
    assert positive_murmur2(key) == signed & 0x7FFFFFFF


@pytest.mark.parametrize("partitions", [1, 2, 6, 7, 64, 1000])
def test_the_home_is_the_hash_modulo_partitions(partitions: int) -> None:
    """Every key has exactly one home, within the topic."""
    for key, signed in VECTORS:
        assert home_partition(key, partitions) == (signed & 0x7FFFFFFF) % partitions
    assert 0 <= home_partition(b"", partitions) < partitions


def test_multiplied_partitions_keep_their_origin() -> None:
    """With N a multiple of N0, the home among N tells the home among N0: no Redis key moves."""
    keys = [b"spiffe://td/agent-%d" % number for number in range(500)]
    for key in keys:
        assert home_partition(key, 24) % 6 == home_partition(key, 6)


def test_workloads_spread_over_partitions() -> None:
    """Names that differ in a number do not crowd one partition."""
    counts = [0] * 8
    for number in range(8000):
        counts[home_partition(b"spiffe://example.org/agent/%d" % number, 8)] += 1
    assert min(counts) > 800 and max(counts) < 1200

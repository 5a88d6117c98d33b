"""A load without end: the same events again and again, each time at their time of day.

A pool of record batches is made once. Before a batch leaves again, the times in its payloads are
moved on by the length of the pool, in place, and its checksum is made anew: that costs a tenth of
making it. The workloads of each batch are known, so what was sent can be counted exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from aiokafka.record.util import calc_crc32c

from benchmarks.belt import Piece, pieces
from stream.identity import home_partition

MARK = b'{"at_ms":'
DIGITS = 13  # of Unix milliseconds, from 2001 to 2286
POWERS = 10 ** np.arange(DIGITS - 1, -1, -1, dtype=np.int64)
# Of a record batch: where the checksum stands, and from where on it counts.
CRC_AT, CRC_FROM = 17, 21


class Wave(NamedTuple):
    """One batch of the pool.

    Shapes: data: its bytes; at: [event], where the digits of each time begin; at_ms: [event], the
    times of the first round.
    """

    partition: int
    data: np.ndarray[Any, Any]
    at: np.ndarray[Any, Any]
    at_ms: np.ndarray[Any, Any]

    @classmethod
    def of(cls, piece: Piece) -> Wave:
        """The wave of a batch whose payloads begin with their times."""
        data = np.frombuffer(bytearray(piece.data), np.uint8)
        at, place = [], piece.data.find(MARK)
        while place >= 0:
            at.append(place + len(MARK))
            place = piece.data.find(MARK, place + 1)
        assert len(at) == piece.count, "each payload begins with its time"
        places = np.array(at)
        digits = data[places[:, None] + np.arange(DIGITS)].astype(np.int64) - ord("0")
        return cls(piece.partition, data, places, digits @ POWERS)

    def moved(self, by_ms: int) -> Piece:
        """The batch with all times so much later than in the first round. Mutates: data."""
        digits = (self.at_ms + by_ms)[:, None] // POWERS % 10
        self.data[self.at[:, None] + np.arange(DIGITS)] = digits + ord("0")
        crc = calc_crc32c(self.data[CRC_FROM:].tobytes())
        self.data[CRC_AT:CRC_FROM] = np.frombuffer(crc.to_bytes(4, "big"), np.uint8)
        return Piece(self.partition, len(self.at), self.data.tobytes())


class Tide:
    """The pool, and how often each of its batches has been handed out."""

    def __init__(self, some: Iterable[tuple[bytes, bytes]], partitions: int, span_ms: int) -> None:
        self._span_ms = span_ms
        self._waves: list[Wave] = []
        self._handed: list[int] = []
        self._counts: list[dict[bytes, int]] = []
        self._fill(some, partitions)

    def _fill(self, some: Iterable[tuple[bytes, bytes]], partitions: int) -> None:
        waiting: list[list[bytes]] = [[] for _ in range(partitions)]

        def noted() -> Iterator[tuple[bytes, bytes]]:
            homes: dict[bytes, int] = {}
            for key, payload in some:
                home = homes.get(key)
                if home is None:
                    home = homes[key] = home_partition(key, partitions)
                waiting[home].append(key)
                yield key, payload

        for piece in pieces(noted(), partitions):
            here = waiting[piece.partition]
            counts: dict[bytes, int] = {}
            for key in here[: piece.count]:
                counts[key] = counts.get(key, 0) + 1
            del here[: piece.count]
            self._waves.append(Wave.of(piece))
            self._handed.append(0)
            self._counts.append(counts)

    def pieces(self) -> Iterator[Piece]:
        """Hand out the batches, again and again, without end."""
        round_number = 0
        while True:
            for place, wave in enumerate(self._waves):
                self._handed[place] += 1
                yield wave.moved(round_number * self._span_ms)
            round_number += 1

    def counts(self) -> dict[bytes, int]:
        """How many events of each workload were handed out."""
        total: dict[bytes, int] = {}
        for handed, counts in zip(self._handed, self._counts, strict=True):
            for key, count in counts.items():
                total[key] = total.get(key, 0) + handed * count
        return total

"""Deliberate bugs of learned baselines, for `bugs`: each is planted by replacing what it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream.enforcement import KEPT_HABITS
from stream.profiles import LEARNED, RecordTable

Planted = Iterator[tuple[Any, str, Any]]


def contexts_lost() -> Planted:
    """Let tasks begin anew in whoever reads their row back."""
    yield from _lost(LEARNED)


def habits_lost() -> Planted:
    """Let habits of workloads begin anew in whoever reads their row back."""
    yield from _lost(KEPT_HABITS.workload)


def _lost(kind: Any) -> Planted:
    """Let records of a kind not be read back."""
    whole = RecordTable.restore

    def restore(self: RecordTable, pointers: Any, which: int, words: Any) -> None:
        if self.records.dtype != kind:
            whole(self, pointers, which, words)

    yield RecordTable, "restore", restore

"""A table on a topic of one partition, for short tests."""

from typing import Any

import msgspec

from stream.gateway import CommandTable, TableSpec
from tests.models.owner import (
    AGENT,
    NOW_MS,
    Pair,
    Topic,
)


class Shelf:
    """A table and the topic its records come from."""

    def __init__(self, **settings: Any) -> None:
        spec = msgspec.convert({"kind": "table"} | settings, TableSpec)
        self.topic = Topic()
        self.table = CommandTable(spec, 1)

    def put(self, pair: Pair, append_ms: int = NOW_MS) -> str:
        return self.table.apply(self.topic.record(pair, 0, append_ms))

    def decision(self, workload: str = AGENT, operation: str = "GET /x", **more: Any) -> str:
        now_ms = more.pop("now_ms", NOW_MS)
        return self.table.check(now_ms, workload, operation, **more).decision

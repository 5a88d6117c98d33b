"""Weblogs: 10,000 real web requests, each client a workload; there are no labels.

python -m benchmarks.quality.weblogs --out events.jsonl.gz
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.quality import Labelled, main, read_lines
from stream.events import Request
from stream.events.convert import outcome_of_status, route_of, segment_of

FILE: Final = "weblogs/requests.jsonl.gz"
TRUST_DOMAIN: Final = "weblogs.example"


class Hit(msgspec.Struct, frozen=True):
    """One request as recorded; `ts` in Unix seconds."""

    ts: int
    client: str
    method: str
    path: str
    status: int
    bytes: int


def read_events(folder: Path) -> Iterator[Request]:
    """Yield all events below a data folder, in the file's order, which is that of time.

    Errors: ValueError if a recorded request is none.
    """
    decoder = msgspec.json.Decoder(Hit)
    for place, line in enumerate(read_lines(folder / FILE)):
        hit = decoder.decode(line)
        route = route_of(hit.method, hit.path.encode())
        if route is None:
            raise ValueError(f"{FILE}:{place + 1}: not a request: {hit.method!a} {hit.path!a}")
        yield Request(
            at_ms=hit.ts * 1000,
            workload=f"spiffe://{TRUST_DOMAIN}/client/{segment_of(hit.client)}",
            operation=route.operation,
            outcome=outcome_of_status(hit.status),
            status=hit.status,
            bytes=hit.bytes,
            resources=route.resources,
            id=f"hit-{place}",
        )


def read(folder: Path) -> Labelled[msgspec.Struct]:
    """Return all events below a data folder."""
    return Labelled(list(read_events(folder)), {})


if __name__ == "__main__":
    main(read, "Write the recorded web requests as events.")

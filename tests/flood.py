"""A flood of names that nobody has seen: workloads, operations, tasks, tokens, each new each time.

Among them a few established workloads go on as they always did; `profile` is what must not change
about them.
"""

import time
from collections.abc import Iterator
from typing import Any

from stream.events import Request, Token, encode_request
from stream.explain import StoredRow, open_row
from stream.identity import home_partition
from stream.kernel import HashKey
from stream.policy import Policy
from stream.replay import Replay

# An hour ago: what is older than a policy's idle time is forgotten while it runs, and rightly so.
START_MS = time.time_ns() // 1_000_000 - 3_600_000
ESTABLISHED = 12
EVERY = 20
PARTITIONS = 6
NAMES = [f"spiffe://established.example/agents/e{each}" for each in range(ESTABLISHED)]


def established(number: int) -> bytes:
    """The next event of the established workloads; some of them come to be throttled."""
    who = number % ESTABLISHED
    return encode_request(
        Request(
            at_ms=START_MS + number * 30,
            workload=f"spiffe://established.example/agents/e{who}",
            operation=f"tool:{('get', 'search', 'send', 'post')[number // ESTABLISHED % 4]}_{who}",
            outcome=("served", "failed", "denied")[number % 11 % 3],
            bytes=number * 7 % 100_000,
            task=f"task-{who}",
        )
    )


def flood(start: int, count: int) -> Iterator[bytes]:
    """So many hostile events, and one of the established after every EVERY of them."""
    for each in range(start, start + count):
        yield encode_request(
            Request(
                at_ms=START_MS + each * 30 // EVERY,
                workload=f"spiffe://hostile.example/agents/h{each}",
                operation=f"tool:made_up_{each}_" + "x" * (each % 200),
                task=f"task-{each}",
                token=Token(issuer="https://issuer.example", id=f"jti-{each}"),
                resources=(f"id:{each}",),
            )
        )
        if each % EVERY == EVERY - 1:
            yield established(each // EVERY)


def profile(key: HashKey, policy: Policy, name: str, row: bytes, partitions: int) -> dict[str, Any]:
    """All of a row but where its events stood in the log, and what is in force by rule."""
    image = open_row(key, policy, StoredRow(name, home_partition(name.encode(), partitions), row))
    head = {field: image.row["head"][field].item() for field in image.row["head"].dtype.names}
    ledger = image.row["ledger"].copy()
    ledger["offset"] = 0
    sections = ("counts", "sums", "contexts", "marks", "transitions")
    return {
        "head": {**head, "offset": 0},
        "ledger": ledger.tobytes(),
        "held": sorted(f"{each.body.rule} {each.body.until_ms}" for each in image.held.values()),
        **{section: image.row[section].tobytes() for section in sections},
    }


def quiet_profiles(key: HashKey, policy: Policy, count: int) -> dict[str, dict[str, Any]]:
    """The established workloads' profiles after so many of their events, without any flood."""
    replay = Replay(policy, key, PARTITIONS, 64)
    for _ in replay.run(established(each) for each in range(count)):
        pass
    table = replay.state.table
    rows = {name: replay.state.stored([table.find(key.hash(name))])[0] for name in NAMES}
    return {name: profile(key, policy, name, row, PARTITIONS) for name, row in rows.items()}

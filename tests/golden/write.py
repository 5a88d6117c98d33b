"""Writes the golden files of this version: `python -m tests.golden.write [FOLDER]`.

A folder is written once, and never again: what it holds was written by a version that somebody
runs, and every later version must read it to the same values. So a folder that is there is left
alone; a change of a format makes a new folder beside it. Only before the first release, while
nobody runs what writes it, `v1` may be removed and written again. `v2` has entries of
format 3 too, which say whose trust domain has no room, and which baseline is in force; `v3` has
those of format 4, which say where the brake holds, and policies that name it. `v4` has the same
formats: ledgers of the story are full, and bind workloads since then where parts found no place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from stream.events import (
    LEARNED_FORMAT,
    Ancestor,
    Conditions,
    Exemption,
    Full,
    Growth,
    Heartbeat,
    InForce,
    Lift,
    OperatorRecord,
    Owner,
    Reject,
    RejectCode,
    Request,
    Subject,
    Token,
    TokenRef,
    Version,
    dead_letter,
    encode,
    encode_entry,
    encode_request,
    encode_request_msgpack,
    marker_key,
    with_brake,
    with_full,
)
from stream.policy import default_policy, load_policy
from stream.replay import Replay
from stream.store import Checkpoint
from tests.golden.meaning import KEY, PARTITIONS, READERS, meaning
from tests.live import POLICY
from tests.models.owner import AGENT, NOW_MS, act, command, subject_record

FOLDER = Path(__file__).parent / "v4"
START_MS = 1_790_000_000_000
SMALL = """
name: small
brake: {share: 5%, classes: [{name: other, at_least: 1}]}
rules:
- name: few
  limit: {measure: requests, at_most: 2, per: 10s}
  action: revoke
  on: token
  for: 1h
  mode: enforce
"""
Fields = dict[str, Any]


def requests() -> list[Request]:
    """A short story of two workloads with tasks, tokens, failures and bytes."""
    return [
        Request(
            at_ms=START_MS + each * 25,
            workload=f"spiffe://golden.example/agents/a{each % 2}",
            operation=f"tool:{('get', 'search', 'send', 'delete')[each // 2 % 4]}_{each % 3}",
            outcome=("served", "served", "failed", "denied")[each // 16 % 4],
            bytes=each * 40_000,
            cost=each,
            task=f"t{each % 3}" if each % 2 else "",
            token=Token(issuer="https://issuer", id=f"jti-{each % 5}") if each % 3 else None,
        )
        for each in range(120)
    ]


def rows() -> Iterator[tuple[str, bytes, Fields]]:
    """The rows of that story under three policies; some have commands in their tails."""
    for name, text in policy_texts().items():
        replay = Replay(load_policy(text, name), KEY, PARTITIONS, 64)
        for _ in replay.run(map(encode_request, requests())):
            pass
        table = replay.state.table
        slots = table.used_slots().tolist()
        for slot, row in zip(slots, replay.state.stored(slots), strict=True):
            fields = {"workload": table.names[slot], "policy": name}
            yield f"{name} {table.names[slot]}", row, fields


def enforcement() -> Iterator[tuple[str, bytes, Fields]]:
    """One record of each kind of subject and issuer, heartbeats, operators' acts."""
    subjects = {
        "workload": Subject(workload=AGENT),
        "task": Subject(workload=AGENT, task='t"1'),
        "token": Subject(workload=AGENT, token=TokenRef("https://issuer", "jti")),
        "operation": Subject(workload=AGENT, operation="tool:send_\u202e"),
    }
    for name, subject in subjects.items():
        for action in ("throttle", "revoke", "release"):
            key, value = subject_record(subject, command(subject, action, offset=7, era=1))
            yield f"{name} {action}", value, {"key": key.hex()}
    beat = Heartbeat(
        partition=3, partitions=6, next_offset=99, version=Version(1, 98, 2), records=4,
        digest="00ff00ff00ff00ff", complete=True, at_ms=NOW_MS, every_ms=1_000,
    )  # fmt: skip
    yield "heartbeat", encode(beat), {}
    acts = (act("exempt"), act("lift"))
    yield "operator", encode(OperatorRecord(workload=AGENT, acts=acts)), {}
    yield "stop", encode(OperatorRecord(workload="", acts=(act("stop"),))), {}


def journal() -> Iterator[tuple[str, bytes, Fields]]:
    """An owner, and conditions with and without everything."""
    yield "owner", encode_entry(Owner(nonce="ab" * 12, epoch=7, checkpoint=1_234, worker="w-1")), {}
    plain = Conditions(
        nonce="ab" * 12, era=2, from_offset=5, policy_hash=load_policy(SMALL, "s").hash,
        policy_text=load_policy(SMALL, "s").text,
    )  # fmt: skip
    yield "plain", encode_entry(plain), {}
    full = msgspec.structs.replace(
        plain,
        stopped_until_ms=NOW_MS,
        exemptions=(Exemption(workload=AGENT, until_ms=NOW_MS, reason="agreed"),),
        lifts=(Lift(AGENT, 9, NOW_MS),),
        forgotten_before_ms=3_600_000,
        modes=("store_forgot",),
    )
    yield "full", encode_entry(full), {}
    room = with_full(plain, Full(("00ff00ff00ff00ff",), ("0123456789abcdef", "00ff00ff00ff00ff")))
    yield "no room", encode_entry(room), {}
    grown = msgspec.structs.replace(full, growth=Growth((6, 12), (Ancestor(1, 2, 99),)))
    yield "no room, grown", encode_entry(with_full(grown, Full(("00ff00ff00ff00ff",)))), {}
    held = InForce("0123456789abcdef", "fedcba9876543210", NOW_MS)
    learned = msgspec.structs.replace(plain, format=LEARNED_FORMAT, baseline=held)
    yield "baseline", encode_entry(learned), {}
    shed = msgspec.structs.replace(held, shed="behind")
    learned = msgspec.structs.replace(grown, format=LEARNED_FORMAT, baseline=shed)
    yield "shed, no room, grown", encode_entry(with_full(learned, Full(("00ff00ff00ff00ff",)))), {}
    yield "braked", encode_entry(with_brake(plain, ("agents", "other"))), {}
    yield "braked, shed, grown", encode_entry(with_brake(learned, ("other",))), {}


def checkpoints() -> Iterator[tuple[str, bytes, Fields]]:
    """One checkpoint as it is stored."""
    checkpoint = Checkpoint(
        next_offset=12, journal_offset=3, topic_id="AbC_-9", era=1, check=0xDEADBEEF,
        version_offset=11, version_ordinal=2, at_ms=NOW_MS,
    )  # fmt: skip
    yield "checkpoint", msgspec.json.encode(checkpoint), {}
    before = msgspec.to_builtins(checkpoint)
    del before["format"]
    yield "without a format, as the first ones were", msgspec.json.encode(before), {}


def events() -> Iterator[tuple[str, bytes, Fields]]:
    """Events in JSON and msgpack: the least, the most, and with fields nobody knows."""
    least = Request(at_ms=START_MS, workload=AGENT, operation="GET /a")
    most = Request(
        at_ms=START_MS, workload=AGENT.upper().replace("SPIFFE", "spiffe"), operation="tool:é",
        kind="grant", effect="change", outcome="denied", status=403, bytes=1 << 44, cost=10**15,
        count=1_000_000, purpose="p", task="t", token=Token(issuer="i", id="j", issued_at_ms=1),
        resources=("id:1", "path:/a"), scopes=("a", "b"), actors=(AGENT,), authenticated=False,
        gateway="g", id="n",
    )  # fmt: skip
    for name, request in (("least", least), ("most", most)):
        yield f"{name}, json", encode_request(request), {}
        yield f"{name}, msgpack", encode_request_msgpack(request), {}
    more = {**msgspec.to_builtins(least), "later": {"x": [1, None]}}
    yield "more, json", msgspec.json.encode(more), {}
    yield "more, msgpack", msgspec.msgpack.encode(more), {}


def letters() -> Iterator[tuple[str, bytes, Fields]]:
    """A dead letter with its bytes, one that was cut, and one without a time."""
    for name, raw, at_ms in (("whole", b"{\xff", 5), ("early", b"", 0)):
        reject = Reject(
            code=RejectCode.MALFORMED, message="no", topic="requests", partition=2, offset=77,
            raw=raw, append_ms=at_ms,
        )  # fmt: skip
        letter = dead_letter(reject)
        yield name, msgspec.json.encode(letter), {"key": marker_key(letter.origin).hex()}
        cut = msgspec.structs.replace(letter, truncated=True, raw_bytes=99_999)
        yield f"{name}, cut", msgspec.json.encode(cut), {"key": marker_key(cut.origin).hex()}


def policies() -> Iterator[tuple[str, bytes, Fields]]:
    """The policies: journals name them by their hash, and hold their text."""
    for name, text in policy_texts().items():
        yield name, text.encode(), {}


def policy_texts() -> dict[str, str]:
    """The policies by name: those of the files that are there, whatever is shipped by now."""
    written = FOLDER / "policies.jsonl"
    if written.exists():
        lines = [msgspec.json.decode(line) for line in written.read_bytes().splitlines()]
        return {each["name"]: bytes.fromhex(each["bytes"]).decode() for each in lines}
    return {"live": POLICY, "small": SMALL, "default": default_policy().text}


WRITERS = {
    "rows": rows,
    "enforcement": enforcement,
    "journal": journal,
    "checkpoints": checkpoints,
    "events": events,
    "letters": letters,
    "policies": policies,
}
assert WRITERS.keys() == {*READERS, "rows"}


def lines(kind: str) -> Iterator[Fields]:
    """The lines of one golden file."""
    for name, data, fields in WRITERS[kind]():
        line = {"name": name, "bytes": data.hex(), **fields}
        yield {**line, "means": meaning(kind, line, policy_texts())}


def main(folder: Path) -> int:
    """Write all files of a folder that is not there yet; return an exit code."""
    if folder.exists():
        sys.stderr.write(f"{folder} is there, and golden files are never written again\n")
        return 1
    folder.mkdir()
    for kind in WRITERS:
        data = b"".join(msgspec.json.encode(each) + b"\n" for each in lines(kind))
        (folder / f"{kind}.jsonl").write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))

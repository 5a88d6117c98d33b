"""What a target begins with: golden lines and small valid inputs, and its corpus.

The corpus is what earlier runs found worth keeping: inputs that reached code no seed reaches, and
inputs that once were crashes. `python -m tests.fuzz --save` adds to it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from stream.baselines import encode_baseline, encode_portable, manifest_of
from stream.policy.settings import default_policy_text
from tests.live import POLICY
from tests.models.tasks import baseline, history

FOLDER: Final = Path(__file__).parent / "corpus"
GOLDEN: Final = Path(__file__).parents[1] / "golden" / "v1"
SAMPLES: Final = Path(__file__).parents[1] / "unit" / "events" / "samples"
KEPT_BYTES_MAX: Final = 2_000
KEPT_MAX: Final = 30

HTTP: Final = (
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"GET /readyz?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"GET http://x/metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
)
ASGI: Final = (
    b"GET /orders/7\nx-spiffe-id: spiffe://golden.example/agents/a0",
    b"POST /a b?c\nX-Spiffe-Id: SPIFFE://TD/a\nx-spiffe-id: spiffe://td/b",
    b"websocket /chat\nx-spiffe-id: spiffe://example.org/agents/a",
    b"DELETE /\nhost: x",
)
SETTINGS: Final = (
    b"kafka: {kind: kafka, bootstrap: '127.0.0.1:9092'}\nworker: {slots_max: 64}\n",
    b"redis: {url: 'redis://:secret@127.0.0.1:6379/0'}\ngateway: {name: edge-1}\n",
    b"topics: {partitions: 6, retention_ms: 604800000}\nmetrics: {port: 0}\npolicy: p.yaml\n",
    b"a: &a [1, 2]\nb: *a\n",
    b"{}",
)
IDENTITIES: Final = (
    b"spiffe://golden.example/agents/a0", b"SPIFFE://TD/a", b"spiffe://td", b"spiffe://td/a/../b",
    b"http://td/a", b"spiffe://td/\xc3\xa4", b"spiffe://u@td:1/a?q#f", b"spiffe://td/a%2fb",
)  # fmt: skip


LABELS: Final = (
    b'{"task": "t1", "label": "attack", "first": "t1/3"}\n{"id": "e", "label": "benign"}\n',
    b"id,label\ne9,attack\n\ne8,benign\n",
    b'task,label,first\n"t, 1",attack,t1/3\nt2,benign,\n',
)


def learned(kind: str) -> list[bytes]:
    """A small baseline, as it is or exported."""
    data = encode_baseline(baseline(history(3)))
    if kind == "baselines":
        return [data]
    return [encode_portable(data, manifest_of(data, 7, 1_700_000_000_000))]


def golden(kind: str) -> list[bytes]:
    """The bytes of the golden lines of a kind."""
    lines = (GOLDEN / f"{kind}.jsonl").read_bytes().splitlines()
    return [bytes.fromhex(json.loads(line)["bytes"]) for line in lines]


def seeds_of(kind: str) -> list[bytes]:
    """Valid inputs of a kind."""
    if kind in {"events", "enforcement", "journal", "checkpoints", "letters", "rows"}:
        return golden(kind)
    if kind == "tails":
        return [row[int.from_bytes(row[4:8], "little") * 8 :] for row in golden("rows")]
    if kind == "gateway":
        lines = map(json.loads, (GOLDEN / "enforcement.jsonl").read_bytes().splitlines())
        return [
            bytes.fromhex(each.get("key", b'["heartbeat",3]'.hex()))
            + b"\n"
            + bytes.fromhex(each["bytes"])
            for each in lines
        ]
    if kind == "nginx":
        return (SAMPLES / "access.log").read_bytes().splitlines()
    if kind == "cloudtrail":
        whole = (SAMPLES / "cloudtrail.json").read_bytes()
        return [whole, *(json.dumps(each).encode() for each in json.loads(whole)["Records"])]
    if kind == "policies":
        return [POLICY.encode(), default_policy_text().encode()[:6_000], *golden("policies")[1:2]]
    if kind == "published":
        return [b"\x93\x01\x02\x03", b"\x93\xcf" + b"\xff" * 8 + b"\xcf\0\0\1\x90\0\0\0\0\x05"]
    if kind in {"baselines", "exported"}:
        return learned(kind)
    return list(
        {
            "labels": LABELS,
            "http": HTTP,
            "asgi": ASGI,
            "settings": SETTINGS,
            "identities": IDENTITIES,
        }[kind]
    )


def corpus(name: str) -> list[bytes]:
    """What is kept of a target."""
    file = FOLDER / f"{name}.txt"
    return (
        [base64.b64decode(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    )


def keep(name: str, inputs: Iterable[bytes]) -> None:
    """Add inputs to what is kept of a target, the shortest, within its bounds."""
    small = [each for each in inputs if len(each) <= KEPT_BYTES_MAX]
    kept = list(dict.fromkeys(corpus(name) + sorted(small, key=len)))[:KEPT_MAX]
    FOLDER.mkdir(exist_ok=True)
    data = b"".join(base64.b64encode(each) + b"\n" for each in kept)
    (FOLDER / f"{name}.txt").write_bytes(data)


def words_of(seeds: Iterable[bytes]) -> list[bytes]:
    """Words that seeds are made of: worth writing elsewhere."""
    found: dict[bytes, None] = {}
    for seed in seeds:
        for word in seed[:4_000].replace(b'"', b" ").replace(b",", b" ").split():
            if 2 <= len(word) <= 40:
                found[word] = None
    return list(found)[:400]

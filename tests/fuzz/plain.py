"""The kernel for plain payloads against msgspec, in bulk: `python -m tests.fuzz.plain`.

Payloads are mutated events: written ones in several layouts, some with resources of every kind,
and, where ENFORCER_DATA names them, recorded ones. Whatever the kernel takes, msgspec must take,
with the same fields, and what the resources say must be what the reference says; arrays of them are
split as msgspec splits them. The same seed gives the same payloads; exit code 1 at the first that
differs, which is printed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.quality import agentdojo, cloudtrail, weblogs
from stream.events import Request, Token, encode_request
from tests.golden.meaning import KEY
from tests.models.plain import differing, read_plain, wrongly_split
from tests.models.texts import PIECES as SAID_PIECES
from tests.models.texts import resources

from .mutate import Mutator
from .seeds import words_of

PAYLOADS: Final = 10_000_000
ROUND: Final = 20_000
RECORDED_MAX: Final = 2_000
SAID: Final = 500  # of the written events have resources of every kind
BYTES: Final = b'"\\{}[],:0123456789-+.eE \n\t/\x00\x1f\x7f\x80\xc3tfn'
PIECES: Final = [bytes((each,)) for each in BYTES] + [
    b'"id":"x",', b'"count":2,', b'"at_ms":1,', b'"workload":"spiffe://td/a",', b'"operation":"o",',
    b'"token":{"id":"x"},', b'"task":"",', b'"outcome":"served",', b'"kind":"grant",', b"null",
    b"true", b"false", b"1.5", b"-1", b"1e3", b"01", b"[]", b"{}", b"[1,", b'{"a":', b"\xc3\xa4",
    b"spiffe://", b"//", b"/../", b"/./", b"\\u0041", b"999999999999999999", b"1000000000000000",
    *(each.encode() for each in SAID_PIECES),
]  # fmt: skip


def written() -> list[bytes]:
    """Events with every member, in several layouts."""
    full = Request(
        at_ms=1_790_000_000_000, workload="spiffe://acme.example/agents/a-1",
        operation="tool:send_money", kind="completion", effect="change", outcome="denied",
        status=403, bytes=12_345, cost=17, count=3, purpose="pay-bill", task="t-1",
        token=Token(issuer="idp", id="j-1", issued_at_ms=1, expires_at_ms=2),
        resources=("iban:DE1", "customer:7"), scopes=("pay", "read"),
        actors=("spiffe://acme.example/users/u1",), authenticated=False, gateway="g1", id="e-1",
    )  # fmt: skip
    document = json.loads(encode_request(full)) | {"latency_ms": 1.5, "labels": {"a": [None, True]}}
    least = {name: document[name] for name in ("at_ms", "workload", "operation")}
    texts = []
    for each in (document, least, dict(reversed(document.items()))):
        texts += [json.dumps(each), json.dumps(each, indent=1)]
        texts.append(json.dumps(each, separators=(",", ":")))
    random = Random("resources")
    for _ in range(SAID):
        texts.append(json.dumps(least | {"resources": resources(random)}, ensure_ascii=False))
    return [text.encode() for text in texts]


def recorded() -> list[bytes]:
    """Some events of each recorded set, where the data is there."""
    folder = os.environ.get("ENFORCER_DATA", "")
    found: list[bytes] = []
    for adapter in (weblogs, cloudtrail, agentdojo) if folder else ():
        events = islice(adapter.read_events(Path(folder)), RECORDED_MAX)
        found += map(encode_request, events)
    return found


def changed(random: Random, raw: bytes, other: bytes) -> bytes:
    """One to three changes of bytes: put in, cut out, replaced, said twice, or another's rest."""
    for _ in range(1 + random.getrandbits(2) % 3):
        at = int(random.random() * (len(raw) + 1))
        what = random.random()
        if what < 0.4:
            size = random.getrandbits(2)
            raw = raw[:at] + PIECES[random.getrandbits(16) % len(PIECES)] + raw[at + size :]
        elif what < 0.6:
            raw = raw[:at] + raw[at + random.getrandbits(4) :]
        elif what < 0.8:
            raw = raw[:at] + bytes((random.getrandbits(8),)) + raw[at + 1 :]
        elif what < 0.9:
            raw = raw[:at] + raw[max(0, at - random.getrandbits(6)) :]
        else:
            raw = raw[:at] + other[at:]
    return raw


def rounds(random: Random, seeds: Sequence[bytes], payloads: int) -> Iterator[list[bytes]]:
    """Yield mutated payloads, so many at a time: most by bytes, some by the tree of their JSON."""
    mutator = Mutator(random, words_of(list(seeds)), None)
    for start in range(0, payloads, ROUND):
        made = []
        for _ in range(min(ROUND, payloads - start)):
            one = seeds[int(random.random() * len(seeds))]
            other = seeds[int(random.random() * len(seeds))]
            kind = random.random()
            if kind < 0.01:
                made.append(mutator.mutated(one, other))
            else:
                made.append(one if kind < 0.02 else changed(random, one, other))
        yield made


def arrays(payloads: Sequence[bytes], seeds: Sequence[bytes]) -> list[bytes]:
    """One array for every twenty payloads: two of them, a good one between, and as they are."""
    made = []
    for place in range(0, len(payloads) - 1, 20):
        parts = payloads[place], seeds[place % len(seeds)], payloads[place + 1]
        made += [b"[" + b",".join(parts) + b"]", b"[" + parts[0] + b"]", parts[0]]
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, tell, and return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.plain", description=__doc__)
    parser.add_argument("--payloads", type=int, default=PAYLOADS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", dest="is_json")
    given = parser.parse_args(arguments)
    seeds = written() + recorded()
    began_s, done, plain = time.monotonic(), 0, 0
    found = None
    for payloads in rounds(Random(f"{given.seed} plain"), seeds, given.payloads):
        read = read_plain(payloads, KEY)
        found = differing(payloads, read, KEY) or wrongly_split(arrays(payloads, seeds), KEY)
        done += len(payloads)
        plain += int(read.is_plain.sum())
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done:,} of {given.payloads:,}, {plain:,} plain ")
        if found is not None:
            break
    differs = 0 if found is None else 1
    figures = {
        "plain.payloads": {"value": done, "target": PAYLOADS, "met": done >= PAYLOADS},
        "plain.disagreements": {"value": differs, "target": 0, "met": not differs},
    }
    seconds = time.monotonic() - began_s
    if given.is_json:
        result = {"figures": figures, "plain": plain, "seeds": len(seeds), "seconds": seconds}
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(
            f"{done:,} payloads from {len(seeds):,} seeds in {seconds:.0f} s,"
            f" {plain:,} of them plain, {differs} differ\n"
        )
    if found is not None:
        sys.stdout.write(f"{found[1]}\n{base64.b64encode(found[0]).decode()}\n")
    return differs


if __name__ == "__main__":
    sys.exit(main())

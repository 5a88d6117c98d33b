"""A large estate as a baseline and as events: so many classes, purposes of each, operations.

No history is that large, so its entries are written as promotion would: of a purpose its tasks, the
operations, values and tokens of its calls, and the rates there; of a class its operations, what
follows each, and the rates there. Events are of form M, each by a workload of one class, and all
but one in sixteen is a call that its purpose is known for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.contenders import KEY
from benchmarks.events import Load, places
from benchmarks.inside import arrival_of
from stream.baselines import (
    BIT,
    ENTRY,
    ESTATE,
    LARGEST,
    OPERATION,
    RATE,
    TASKS,
    USUAL,
    Baseline,
    Facts,
    Tail,
    asked_of,
)
from stream.baselines.baseline import CANDIDATES_MAX, GROUP
from stream.baselines.entries import ODD, TOKEN_SEEN, USE, VALUE_SEEN
from stream.baselines.rates import keys_of, places_of
from stream.detectors.facts import AFTER_ONE, SEQUENCE_CALLS, SEQUENCE_ONE, SEQUENCE_PAIR
from stream.detectors.sequence import NEXT, mark_of
from stream.kernel import mix64
from stream.profiles import Decoder

CALLS: Final = 4_096  # different ones, of which a purpose is known for
EACH: Final = 13  # so that a purpose has 120 entries, and one more of each call that is usual
FOLLOWING: Final = 4  # operations usual after each
ODD_EVERY: Final = 16
LARGEST_BITS: Final = (10_000, 0, 0)  # bytes, in words: no read brings more
NOVEL_BITS: Final = (BIT, 2 * BIT, 4 * BIT)  # of the three levels
MUCH: Final = 1_000
TASK_MS: Final = 60_000
AT_MS: Final = 1_790_000_000_000


class Estate(NamedTuple):
    """How large: classes, purposes of each class, operations of each class."""

    classes: int
    purposes: int
    operations: int


LARGE: Final = Estate(100, 1_000, 2_000)
SMALL: Final = Estate(10, 10, 200)


def known_calls(estate: Estate) -> Any:
    """Return which calls each purpose is known for: [purpose of all classes, EACH] of int64."""
    chance = np.random.Generator(np.random.PCG64(3))
    return chance.integers(CALLS, size=(estate.classes * estate.purposes, EACH))


def class_of(number: int) -> str:
    """Return the path of a class."""
    return f"spiffe://prod.example/agents/c{number:03d}"


def purpose_of(number: int) -> str:
    """Return the name of a purpose of a class."""
    return f"purpose-{number:04d}"


def _call(number: int, estate: Estate) -> str:
    """Return what tells a call: its operation and its resources."""
    operation = number * 7 % estate.operations
    return (
        f'"operation":"tool:query_{operation:04d}","outcome":"served","status":200,'
        f'"effect":"read","resources":["customer:{number:08d}","ticket:{number * 31 % 9973:06d}"]'
    )


def estate_events(load: Load, estate: Estate) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and payload of each event of a load, as the members of an estate make them."""
    chance = np.random.Generator(np.random.PCG64([load.seed, 2]))
    known, calls = known_calls(estate), [_call(each, estate) for each in range(CALLS)]
    names = [
        f"{class_of(each % estate.classes)}/agent-{each:07d}" for each in range(load.workloads)
    ]
    number = 0
    for chunk in places(load):
        sizes = chance.integers(1_000, 10_000, size=len(chunk)).tolist()
        seats = chance.integers(EACH, size=len(chunk)).tolist()
        others = chance.integers(CALLS, size=len(chunk)).tolist()
        odd = (chance.integers(ODD_EVERY, size=len(chunk)) == 0).tolist()
        for place, agent in enumerate(chunk.tolist()):
            at_ms = load.start_ms + number // load.per_ms
            span = at_ms // TASK_MS
            purpose = (agent // estate.classes + span) % estate.purposes
            mine = known[agent % estate.classes * estate.purposes + purpose]
            call = calls[others[place] if odd[place] else int(mine[seats[place]])]
            number += 1
            yield (
                names[agent].encode(),
                (
                    f'{{"at_ms":{at_ms},"workload":"{names[agent]}",{call},"bytes":{sizes[place]},'
                    f'"purpose":"{purpose_of(purpose)}","task":"task-{agent:07d}-{span:08d}",'
                    f'"token":{{"issuer":"https://issuer.prod.example","id":"jti-{agent:07d}",'
                    f'"issued_at_ms":{span * TASK_MS},"expires_at_ms":{(span + 15) * TASK_MS}}}}}'
                ).encode(),
            )


def estate_baseline(estate: Estate) -> Baseline:
    """Return what is expected of an estate; thresholds as if measured."""
    names = [class_of(each) for each in range(estate.classes)]
    classes = np.array(KEY.hash_all(names), np.uint64)
    purposes = KEY.hash_all([purpose_of(each) for each in range(estate.purposes)])
    owners = np.zeros(
        estate.classes * estate.purposes, [("group", np.uint64), ("purpose", np.uint64)]
    )
    owners["group"] = np.repeat(classes, estate.purposes)
    owners["purpose"] = np.tile(np.array(purposes, np.uint64), estate.classes)
    at = places_of(owners)
    listed = np.concatenate([*_of_purposes(at, estate), *_of_classes(classes, estate)])
    listed = listed[np.unique(listed["key"], return_index=True)[1]]
    count = min(estate.purposes, CANDIDATES_MAX)
    first = at.reshape(estate.classes, estate.purposes)[:, :count]
    order = np.argsort(classes)
    groups = np.zeros(estate.classes, GROUP)
    groups["group"], groups["first"] = classes[order], np.arange(estate.classes) * count
    groups["count"], groups["purposes"], groups["tasks"] = count, estate.purposes, MUCH
    tail = Tail(tasks=MUCH, rates=(0.1, 0.01), bits=(4.0, 12.0), beyond=0.01, from_bits=12.0)
    facts = Facts(key_id=KEY.id, tasks=MUCH, tails=(tail,) * 3)
    return Baseline(facts, listed, groups, first[order].ravel())


def _entries(at: Any, kind: np.uint64, whats: Any, bits: tuple[int, ...] = (0, 0, 0)) -> Any:
    """Return an entry for each of what is known at each place. Shapes: at [n]; whats [n, each]."""
    out = np.zeros(whats.size, ENTRY)
    spread = np.repeat(at, whats.shape[1])
    out["key"] = keys_of(spread, kind, whats.ravel())
    out["bits"], out["support"] = bits, MUCH
    return out


def _mixed(one: Any, other: Any) -> Any:
    """Return what kernels mix of each pair of two arrays, as far as the shorter axis is spread."""
    pairs = np.broadcast(one, other)
    return np.array([mix64(*each) for each in pairs], np.uint64).reshape(pairs.shape)


def _decoded(estate: Estate) -> tuple[Any, ...]:
    """Return of each call the hashes: operation; of its values name, value, use, tokens; itself."""
    head = f'{{"at_ms":{AT_MS},"workload":"{class_of(0)}/a",'
    payloads = [f"{head}{_call(each, estate)}}}".encode() for each in range(CALLS)]
    batch, rejects = Decoder(KEY, 1, with_values=True).decode([arrival_of(payloads, AT_MS)])
    assert not rejects, rejects[:1]
    operations = batch.events["operation"]
    asked = np.array([asked_of(each, batch.values) for each in batch.events], np.uint64)
    values = batch.values.reshape(CALLS, -1)
    assert (values["tokens_count"] == 1).all(), "each value is one token"
    tokens = batch.tokens[values["tokens_from"]]
    named = _mixed(operations[:, None], values["name"])
    return operations, named, values["value"], _mixed(named, values["value"]), tokens, asked


def _of_purposes(at: Any, estate: Estate) -> list[Any]:
    """Return the entries of purposes."""
    operations, named, values, uses, tokens, asked = _decoded(estate)
    known, few = known_calls(estate), np.array([[1, 2]] * len(at), np.uint64)

    def of(table: Any) -> Any:
        return table[known].reshape(len(at), -1)

    return [
        _entries(at, TASKS, np.zeros((len(at), 1), np.uint64)),
        _entries(at, ODD, few, NOVEL_BITS),
        _entries(at, OPERATION, of(operations)),
        _entries(at, USE, of(uses)),
        _entries(at, VALUE_SEEN, of(values)),
        _entries(at, TOKEN_SEEN, of(tokens)),
        _entries(at, RATE, of(named), NOVEL_BITS),
        _entries(at, USUAL, of(asked), LARGEST_BITS),
    ]


def _alone(classes: Any, hashes: Any) -> Any:
    """Return what is known of each operation alone: bits, what is left, marks of what follows."""
    out = _entries(classes, SEQUENCE_ONE, np.tile(hashes, (len(classes), 1)), (9 * BIT, BIT, 0))
    marks = np.array([mark_of(each) for each in hashes], np.uint16)
    following = [np.roll(marks, each + 1) for each in range(FOLLOWING)]
    out["bits"][:, NEXT] = np.tile(np.bitwise_or.reduce(following), len(classes))
    return out


def _of_classes(classes: Any, estate: Estate) -> list[Any]:
    """Return the entries of classes, and the few of the estate."""
    texts = [f"tool:query_{each:04d}" for each in range(estate.operations)]
    hashes = np.array(KEY.hash_all(texts), np.uint64)
    after = np.concatenate([_mixed(hashes, np.roll(hashes, each + 1)) for each in range(FOLLOWING)])
    _, named, _, _, _, asked = _decoded(estate)
    calls = np.zeros((len(classes), 1), np.uint64)

    def each(table: Any) -> Any:
        return np.tile(table, (len(classes), 1))

    return [
        _entries(classes, SEQUENCE_CALLS, calls, (11 * BIT, 0, 0)),
        _entries(classes, OPERATION, each(hashes)),
        _alone(classes, hashes),
        _entries(classes, AFTER_ONE, each(hashes), (BIT, 0, 0)),
        _entries(classes, SEQUENCE_PAIR, each(after), (3 * BIT, 0, 0)),
        _entries(classes, RATE, each(np.unique(named)), NOVEL_BITS),
        _entries(classes, LARGEST, each(asked), LARGEST_BITS),
        _entries(np.full(1, ESTATE), RATE, np.array([[1, 2]], np.uint64), NOVEL_BITS),
        _entries(np.full(1, ESTATE), ODD, np.array([[1, 2]], np.uint64), NOVEL_BITS),
    ]

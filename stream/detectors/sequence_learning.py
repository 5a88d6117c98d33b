"""What sequence.py looks up, learned from ended benign tasks.

Counting is plain Python: it runs when a baseline is promoted, over the tasks that hygiene let pass,
and its result is a list of facts. Every number is rounded once, where it becomes bits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from operator import or_
from typing import Final, NamedTuple

import numpy as np

from stream.baselines import ESTATE
from stream.kernel import mix64

from .facts import (
    AFTER_ONE,
    AFTER_PAIR,
    SEQUENCE_CALLS,
    SEQUENCE_NEW,
    SEQUENCE_ONE,
    SEQUENCE_PAIR,
    SEQUENCE_TRIPLE,
    Fact,
    Facts,
    as_bits,
    as_facts,
    fact,
)
from .sequence import START, mark_of

WARM_CALLS: Final = 20
Call = tuple[int, int]  # operation, effect
History = tuple[int, ...]  # operations before, the latest last


class BenignTask(NamedTuple):
    """An ended task: its class, and its calls in order."""

    group: int
    calls: Sequence[Call]


class _Heard(NamedTuple):
    """One call as it came: its number among all, and the two operations before it."""

    number: int
    effect: int
    older: int
    before: int
    operation: int


class _Counts:
    """What was counted of the calls of one class, or of the estate."""

    def __init__(self, calls: Sequence[_Heard], elsewhere: Mapping[int, int]) -> None:
        """Count calls; `elsewhere` has the number at which each operation was first heard."""
        self.after: dict[History, dict[int, int]] = {}
        for length in range(3):
            for steps, count in Counter(call[4 - length :] for call in calls).items():
                self.after.setdefault(steps[:-1], {})[steps[-1]] = count
        self.compared = max(0, len(calls) - WARM_CALLS)
        self.first = {call.operation: place for place, call in reversed([*enumerate(calls)])}
        self.new: Counter[tuple[int, bool]] = Counter()  # effect, known elsewhere
        for operation, place in self.first.items():
            if place >= WARM_CALLS:
                number = calls[place].number
                is_known = elsewhere.get(operation, number) < number
                self.new[calls[place].effect, is_known] += 1

    def share_new(self, effect: int, *, is_known_elsewhere: bool) -> float:
        """How rarely a call is the first of an operation with this effect."""
        return (self.new[effect, is_known_elsewhere] + 0.5) / (self.compared + 1)


def learn_sequences(tasks: Iterable[BenignTask]) -> Facts:
    """Return the facts of benign tasks, in the order in which they ended."""
    every: list[_Heard] = []
    classes = defaultdict[int, list[_Heard]](list)
    for task in tasks:
        older = before = int(START)
        own = classes[int(task.group)]
        for operation, effect in task.calls:
            call = _Heard(len(every), int(effect), older, before, int(operation))
            every.append(call)
            own.append(call)
            older, before = before, call.operation
    if not every:
        return as_facts([])
    estate = _Counts(every, {})
    known = len(estate.first)
    made = _facts_of(int(ESTATE), estate, known)
    for group, calls in sorted(classes.items()):
        if calls:
            made += _facts_of(group, _Counts(calls, estate.first), known)
    return as_facts(made)


def _facts_of(place: int, counts: _Counts, known: int) -> list[Fact]:
    """Return the facts of one place; `known` operations are known to the estate."""
    calls = sum(counts.after[()].values())
    made = [fact(place, SEQUENCE_CALLS, 0, (as_bits(1.0 / (known + 1)),), calls)]
    share_new = 0.0
    for effect in range(2):
        shares = [counts.share_new(effect, is_known_elsewhere=each) for each in (False, True)]
        bits = as_bits(shares[0]), as_bits(shares[1])
        made.append(fact(place, SEQUENCE_NEW, 1 + effect, bits, counts.compared))
        share_new += sum(shares)
    share_new = min(0.5, share_new)
    shares_by: dict[History, dict[int, float]] = {}
    for before in sorted(counts.after, key=len):
        made += _facts_after(place, before, counts.after, (share_new, shares_by))
    return made


def _facts_after(
    place: int,
    before: History,
    after: Mapping[History, Mapping[int, int]],
    rest: tuple[float, dict[History, dict[int, float]]],
) -> list[Fact]:
    """Return the facts of what came after some calls. Mutates: the shares in `rest`."""
    share_new, shares_by = rest
    seen = after[before]
    calls, different = sum(seen.values()), len(seen)
    mine = shares_by.setdefault(before, {})
    made = []
    for operation, count in sorted(seen.items()):
        if not before:
            mine[operation] = (1.0 - share_new) * count / calls
        else:
            shorter = shares_by[before[1:]][operation]
            mine[operation] = (count + different * shorter) / (calls + different)
        kind = (SEQUENCE_ONE, SEQUENCE_PAIR, SEQUENCE_TRIPLE)[len(before)]
        what = _hash_of((*before, operation))
        known = () if before else _after(after.get((operation,), {}))
        made.append(fact(place, kind, what, (as_bits(mine[operation]), *known), count))
    if before:
        kind = (AFTER_ONE, AFTER_PAIR)[len(before) - 1]
        made.append(fact(place, kind, _hash_of(before), (_after(seen)[0],), calls))
    return made


def _after(seen: Mapping[int, int]) -> tuple[int, int]:
    """Return the bits left to what was not seen after some calls, and marks of what was."""
    if not seen:
        return 0, 0
    calls, different = sum(seen.values()), len(seen)
    return as_bits(different / (calls + different)), reduce(or_, map(_mark_of, seen))


@lru_cache(1 << 16)
def _mark_of(operation: int) -> int:
    return int(mark_of(np.uint64(operation)))


@lru_cache(1 << 16)
def _hash_of(operations: History) -> int:
    """Return what the kernel mixes of one, two or three operations in a row."""
    mixed = operations[0]
    for operation in operations[1:]:
        mixed = int(mix64(np.uint64(mixed), np.uint64(operation)))
    return mixed

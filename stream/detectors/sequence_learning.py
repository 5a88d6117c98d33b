"""What sequence.py looks up, learned from ended benign tasks.

Counting is plain Python: it runs when a baseline is promoted, over the tasks that hygiene let pass,
and its result is a list of facts. Every number is rounded once, where it becomes bits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from stream.kernel import mix64

from .facts import (
    AFTER_ONE,
    AFTER_PAIR,
    ESTATE,
    SEQUENCE_CALLS,
    SEQUENCE_NEW,
    SEQUENCE_ONE,
    SEQUENCE_PAIR,
    SEQUENCE_TRIPLE,
    Facts,
    as_bits,
    fact,
)
from .sequence import START

WARM_CALLS: Final = 20
Call = tuple[int, int]  # operation, effect
History = tuple[int, ...]  # operations before, the latest last


class BenignTask(NamedTuple):
    """An ended task: its class, and its calls in order."""

    group: int
    calls: Sequence[Call]


class _Counts:
    """Counts of one class, or of the estate."""

    def __init__(self) -> None:
        self.after: dict[History, Counter[int]] = defaultdict(Counter)
        self.compared = 0
        self.new: Counter[tuple[int, bool]] = Counter()  # effect, known elsewhere

    def count(self, call: Call, before: History, elsewhere: Counter[int]) -> None:
        """Compare one call, then count it."""
        operation, effect = call
        known = self.after[()]
        if known.total() >= WARM_CALLS:
            self.compared += 1
            if operation not in known:
                self.new[effect, operation in elsewhere] += 1
        for length in range(3):
            self.after[before[2 - length :]][operation] += 1

    def share_new(self, effect: int, *, is_known_elsewhere: bool) -> float:
        """How rarely a call is the first of an operation with this effect."""
        return (self.new[effect, is_known_elsewhere] + 0.5) / (self.compared + 1)


def learn_sequences(tasks: Iterable[BenignTask]) -> Facts:
    """Return the facts of benign tasks, in the order in which they ended."""
    estate, classes = _Counts(), defaultdict[int, _Counts](_Counts)
    for task in tasks:
        before: History = (int(START), int(START))
        for operation, effect in task.calls:
            call = int(operation), int(effect)
            classes[int(task.group)].count(call, before, estate.after[()])
            estate.count(call, before, Counter())
            before = before[1], call[0]
    if not estate.after:
        return np.zeros(0, fact(0, SEQUENCE_CALLS, 0, (), 0).dtype)
    known = len(estate.after[()])
    made = _facts_of(int(ESTATE), estate, known)
    for group, counts in sorted(classes.items()):
        made += _facts_of(group, counts, known)
    return np.concatenate(made)


def _facts_of(place: int, counts: _Counts, known: int) -> list[Facts]:
    """Return the facts of one place; `known` operations are known to the estate."""
    calls = counts.after[()].total()
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
        made += _facts_after(place, before, counts.after[before], (share_new, shares_by))
    return made


def _facts_after(
    place: int,
    before: History,
    seen: Counter[int],
    rest: tuple[float, dict[History, dict[int, float]]],
) -> list[Facts]:
    """Return the facts of what came after some calls. Mutates: the shares in `rest`."""
    share_new, shares_by = rest
    calls, different = seen.total(), len(seen)
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
        made.append(fact(place, kind, what, (as_bits(mine[operation]),), count))
    if before:
        kind = (AFTER_ONE, AFTER_PAIR)[len(before) - 1]
        left = as_bits(different / (calls + different))
        made.append(fact(place, kind, _hash_of(before), (left,), calls))
    return made


def _hash_of(operations: History) -> int:
    """Return what the kernel mixes of one, two or three operations in a row."""
    mixed = np.uint64(operations[0])
    for operation in operations[1:]:
        mixed = np.uint64(mix64(mixed, np.uint64(operation)))
    return int(mixed)

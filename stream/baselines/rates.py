"""How rarely benign tasks do what is new, as bits: counts of comparisons, backed off and quantised.

Rates back off from the purpose to the class to the estate. Where a purpose is itself new, rates are
those of purposes compared with the other purposes of their class, each of which weighs one.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.kernel import routine

from .comparing import Compared
from .counting import purpose_numbers
from .entries import (
    BIT,
    BITS_MAX,
    DEEDS,
    ENTRY,
    ESTATE,
    LEVELS,
    NEW_ODD,
    NEW_RATE,
    ODD,
    RATE,
    SUPPORT_MAX,
    Entries,
    key_of,
    place_of,
)
from .tasks import CHANGE, Tasks

DEEDS_MAX: Final = 8
# A count of nothing stands for half a task; what stands behind a rate weighs as so many tasks.
_HALF: Final = 0.5
_GROUP_WEIGHT: Final = 4.0
_PURPOSE_WEIGHT: Final = 1.0
_ODD_WEIGHT: Final = 2.0
_NEW_WEIGHT: Final = 2.0


class Counts(NamedTuple):
    """At each key, of `tasks` so many reach each level. Shapes: keys, tasks [n]; reached [n, 3]."""

    keys: Any
    tasks: Any
    reached: Any


def _counted(keys: Any, levels: Any, weights: Any) -> tuple[Counts, Any]:
    """Return the counts at each distinct key, and at which of them each given key stands."""
    found, at = np.unique(keys, return_inverse=True)
    tasks = np.bincount(at, weights, len(found))
    reached = [
        np.bincount(at, weights * (levels >= level), len(found)) for level in range(1, LEVELS + 1)
    ]
    return Counts(found, tasks, np.stack(reached, axis=1)), at


def _backed(counts: Counts, behind: Any, weight: float) -> Any:
    """Return the rates at each key, with the rate behind it weighing as so many tasks."""
    return (counts.reached + weight * behind) / (counts.tasks + weight)[:, None]


def _first_rates(counts: Counts) -> Any:
    return (counts.reached + _HALF) / (counts.tasks + 2 * _HALF)[:, None]


def _behind(at: Any, at_behind: Any, rates: Any, size: int) -> Any:
    """Return for each of `size` keys the rates of what stands behind it."""
    behind = np.zeros((size, rates.shape[1]))
    behind[at] = rates[at_behind]
    return behind


def _entries(counts: Counts, rates: Any) -> Entries:
    """Return rates as entries, in bits, rounded: what decides is what is stored."""
    entries = np.zeros(len(counts.keys), ENTRY)
    entries["key"] = counts.keys
    entries["bits"] = np.clip(np.rint(-np.log2(rates) * BIT), 0, BITS_MAX)
    entries["support"] = np.minimum(np.ceil(counts.tasks), SUPPORT_MAX)
    return entries


@routine
def _fill_keys(places: Any, kind: np.uint64, whats: Any, out: Any) -> None:
    for number in range(len(out)):
        out[number] = key_of(places[number], kind, whats[number])


def keys_of(places: Any, kind: np.uint64, whats: Any) -> Any:
    """Return the keys of many entries of one kind. Shapes: places, whats [n]; or one place."""
    out = np.empty(len(whats), np.uint64)
    every = np.broadcast_to(np.asarray(places, np.uint64), out.shape).copy()
    _fill_keys(every, kind, np.ascontiguousarray(whats, np.uint64), out)
    return out


@routine
def _fill_places(groups: Any, purposes: Any, out: Any) -> None:
    for number in range(len(out)):
        out[number] = place_of(groups[number], purposes[number])


def places_of(tasks: Any) -> Any:
    """Return the place of each task's purpose."""
    out = np.empty(len(tasks), np.uint64)
    groups, purposes = (np.ascontiguousarray(tasks[each]) for each in ("group", "purpose"))
    _fill_places(groups, purposes, out)
    return out


def rate_entries(of: Tasks, compared: Compared, given: Any) -> Entries:
    """Return the entries of all rates; `given` [task]: how much each weighs in its purpose."""
    parts: list[Entries] = []
    purposes = purpose_numbers(of.tasks)
    shares = 1.0 / np.bincount(purposes)[purposes] if len(purposes) else np.zeros(0)
    for is_new, kind, odd in ((0, RATE, ODD), (1, NEW_RATE, NEW_ODD)):
        weights = shares if is_new else given
        weights = weights * compared.oddities["is_compared"][:, is_new]
        shown = compared.shown[compared.shown["is_new"] == is_new]
        parts += _level_entries(of, shown, weights, kind)
        parts += _odd_entries(of, compared.oddities["odd"][:, is_new], weights, odd)
    parts += _deed_entries(of, shares)
    return np.concatenate(parts)


def _level_entries(of: Tasks, shown: Any, weights: Any, kind: np.uint64) -> list[Entries]:
    """Return the rates of levels at operations' names: of purposes, of classes, of the estate."""
    tasks = of.tasks[shown["task"]]
    given, levels, whats = weights[shown["task"]], shown["level"], shown["what"]
    effects = shown["effect"].astype(np.uint64) + np.uint64(1)
    estate, at_estate = _counted(keys_of(ESTATE, kind, effects), levels, given)
    first = _first_rates(estate)
    group, at_group = _counted(keys_of(tasks["group"], kind, whats), levels, given)
    is_new = kind == NEW_RATE
    second = _backed(
        group,
        _behind(at_group, at_estate, first, len(group.keys)),
        _NEW_WEIGHT if is_new else _GROUP_WEIGHT,
    )
    parts = [_entries(estate, first), _entries(group, second)]
    if not is_new:
        purpose, at = _counted(keys_of(places_of(tasks), kind, whats), levels, given)
        behind = _behind(at, at_group, second, len(purpose.keys))
        parts.append(_entries(purpose, _backed(purpose, behind, _PURPOSE_WEIGHT)))
    return parts


def _odd_entries(of: Tasks, odd: Any, weights: Any, kind: np.uint64) -> list[Entries]:
    """Return how rarely operations and found identifiers are new; odd [task, effect, what]."""
    parts: list[Entries] = []
    for effect in range(2):
        whats = np.full(len(of.tasks), effect + 1, np.uint64)
        counts, at = [], []
        for places in (ESTATE, places_of(of.tasks)):
            found, inverse = np.unique(keys_of(places, kind, whats), return_inverse=True)
            tasks = np.bincount(inverse, weights, len(found))
            reached = np.zeros((len(found), LEVELS))
            for what in range(2):
                seen = weights * odd[:, effect, what]
                reached[:, what] = np.bincount(inverse, seen, len(found))
            counts.append(Counts(found, tasks, reached))
            at.append(inverse)
        first = _first_rates(counts[0])
        parts.append(_entries(counts[0], first))
        if kind == ODD:
            behind = _behind(at[1], at[0], first, len(counts[1].keys))
            parts.append(_entries(counts[1], _backed(counts[1], behind, _ODD_WEIGHT)))
    return parts


def _deed_entries(of: Tasks, shares: Any) -> list[Entries]:
    """Return how rarely a task has so many different changing operations, or more."""
    counts = _deeds(of)
    parts = []
    for places in (ESTATE, of.tasks["group"]):
        for deeds in range(2, DEEDS_MAX + 1):
            keys = keys_of(places, DEEDS, np.full(len(counts), deeds, np.uint64))
            found, at = np.unique(keys, return_inverse=True)
            tasks = np.bincount(at, shares, len(found))
            reached = np.zeros((len(found), LEVELS))
            reached[:, 0] = np.bincount(at, shares * (counts >= deeds), len(found))
            every = Counts(found, tasks, reached)
            parts.append(_entries(every, _first_rates(every)))
    return parts


def _deeds(of: Tasks) -> Any:
    """Return how many different changing operations each task has."""
    owners = np.repeat(np.arange(len(of.tasks)), of.tasks["calls_count"])
    starts = np.repeat(
        of.tasks["calls_from"] - (np.cumsum(of.tasks["calls_count"]) - of.tasks["calls_count"]),
        of.tasks["calls_count"],
    )
    calls = of.calls[np.arange(len(owners)) + starts]
    is_change = calls["effect"] == CHANGE
    pairs = np.zeros(int(is_change.sum()), [("task", np.int64), ("operation", np.uint64)])
    pairs["task"], pairs["operation"] = owners[is_change], calls["operation"][is_change]
    return np.bincount(np.unique(pairs)["task"], minlength=len(of.tasks))

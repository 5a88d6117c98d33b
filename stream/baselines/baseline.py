"""A baseline: what is expected of classes and purposes, one immutable version.

It is made at once from a set of ended tasks (`promotion`), named by the hash of its bytes
(`format`), and never changed: learning goes on in a candidate beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from .entries import ENTRY, Entries, table_of

GROUPS_MAX: Final = 10_000
PURPOSES_MAX: Final = 100_000
CANDIDATES_MAX: Final = 64  # purposes of a class that an undeclared task may have
MODES: Final = 3  # known purpose, new purpose, purpose undeclared
PARTS_MEASURED: Final = 12  # parts of how calls are made, each with a tail of its own
PARTS_BEFORE: Final = 11  # of baselines of format 1: different resources were not counted
NAMES_MAX: Final = 100_000

GROUP: Final = np.dtype(
    [
        ("group", np.uint64),
        ("first", np.int32),  # of its purposes' places
        ("count", np.int32),  # at most CANDIDATES_MAX, those of most tasks
        ("purposes", np.int32),
        ("tasks", np.int32),
    ],
    align=True,
)


class View(NamedTuple):
    """What kernels take.

    Shapes: entries [place] of ENTRY, a table; groups [class] of GROUP, ascending; places [n].
    """

    entries: Any
    groups: Any
    places: Any


class Tail(msgspec.Struct, frozen=True):
    """How high the evidence of benign tasks goes in one mode: as seen, and a fitted tail beyond.

    Of `tasks` tasks the share `rates[i]` has more than `bits[i]`, rates falling. Less often than
    the last of these, the excess over `from_bits`, which the share `beyond` has, is generalised
    Pareto. Units: bits. Without tasks it says nothing: `tasks` is 0.
    """

    tasks: int = 0
    rates: tuple[float, ...] = ()
    bits: tuple[float, ...] = ()
    beyond: float = 0.0
    from_bits: float = 0.0
    scale: float = 0.0
    shape: float = 0.0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a baseline says of itself.

    `key_id` is that of the hash key; of `seen` tasks that ended `tasks` were kept; `aside` counts
    those that were suspicious and taught nothing; `tails` are those of novelty by mode, `habits`
    those of each part of habits, if measured; `names` are classes, purposes and operations by hash,
    for people. `apart_ms` is how far apart tasks ended, some left out (`budget.apart_ms`); 0 where
    an earlier version did not say.
    """

    key_id: int
    tasks: int
    seen: int = 0
    aside: int = 0
    workloads: int = 0
    from_ms: int = 0
    until_ms: int = 0
    apart_ms: int = 0
    tails: tuple[Tail, ...] = ()
    habits: tuple[Tail, ...] = ()
    names: dict[str, str] = {}


class Baseline(NamedTuple):
    """One version.

    Shapes: listed [n] of ENTRY, ascending by key; groups [class] of GROUP, ascending; places [n].
    """

    facts: Facts
    listed: Entries
    groups: Any
    places: Any

    def view(self, between: Callable[[], object] = lambda: None) -> View:
        """Return the arrays that kernels search; builds the table anew, see `table_of`.

        Of one kind, may they be written to or not: kernels are compiled for each kind.
        """
        return View(table_of(self.listed, between), np.array(self.groups), np.array(self.places))


def no_view() -> View:
    """Return the arrays of a baseline that knows nothing."""
    return View(table_of(np.zeros(0, ENTRY)), np.zeros(0, GROUP), np.zeros(0, np.uint64))

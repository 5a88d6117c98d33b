"""One entry of a baseline: a key that says what it is about, and what was counted there.

What a baseline knows lies in one flat array of 16-byte entries, found by open addressing. A key
mixes a place (a purpose of a class, a class, or the estate), a kind, and what it is about, all of
them keyed hashes. An entry of a thing that was seen carries how many tasks saw it (of a class: how
many purposes); one of a rate carries bits, quantised when the baseline was made.

Sizes: 16 bytes an entry, ENTRIES_MAX entries, at most half of the array used: much of what is
looked up is not there, and a search ends at the first free place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.errors import ConfigError
from stream.kernel import kernel, mix64, prefetch_entry, routine

ENTRIES_MAX: Final = 1 << 25
SUPPORT_MAX: Final = 0xFFFF
BIT: Final = 1_024  # evidence is in 1/1024 bit
BITS_MAX: Final = 12 * BIT
LEVELS: Final = 3
FILLED_AT_ONCE: Final = 1 << 16
PROBES_MAX: Final = 1 << 12

ENTRY: Final = np.dtype(
    [("key", np.uint64), ("bits", np.uint16, (LEVELS,)), ("support", np.uint16)], align=True
)
Entries = npt.NDArray[np.void]
Words = npt.NDArray[np.uint64]

# What an entry is about. Seen: an operation; a value at an operation's name; a value anywhere;
# a token anywhere. Rates: of levels at an operation's name; of operations (bits 0) and of found
# identifiers (bits 1) that are new; for a purpose that is new itself the same, and of tasks with
# so many changing operations. Others: how many tasks a purpose has; the largest result; a call
# that tasks made just so, see `usual`.
OPERATION, USE, VALUE_SEEN, TOKEN_SEEN = (np.uint64(each) for each in range(1, 5))
RATE, ODD, NEW_RATE, NEW_ODD, DEEDS = (np.uint64(each) for each in range(5, 10))
TASKS, LARGEST, PURPOSES, EXPOSED, USUAL = (np.uint64(each) for each in range(10, 15))
# The place of what holds everywhere.
ESTATE: Final = np.uint64(0x9E3779B97F4A7C15)
NOWHERE: Final = np.uint64(0)


@kernel
def whole(value: Any) -> int:
    """Return a number as the 64-bit one that kernels count in."""
    return np.int64(value)  # type: ignore[return-value]


@kernel
def place_of(group: np.uint64, purpose: np.uint64) -> np.uint64:
    """Return the place of a purpose of a class; never 0."""
    return mix64(group, purpose) | np.uint64(1)


@kernel
def key_of(place: np.uint64, kind: np.uint64, what: np.uint64) -> np.uint64:
    """Return the key of an entry; never 0."""
    return mix64(mix64(place, kind), what) | np.uint64(1)


@kernel
def home_of(entries: Any, key: np.uint64) -> int:
    """Return where a key's entry is at the earliest; larger keys are not before smaller ones."""
    return whole(((key >> np.uint64(32)) * np.uint64(len(entries))) >> np.uint64(32))


@routine
def find_entry(entries: Any, key: np.uint64) -> int:
    """Return the place of a key's entry, -1 where there is none.

    Shapes: entries: [place] of ENTRY, a power of two of them, some of them free; see `table_of`.
    """
    mask = whole(len(entries) - 1)
    place = home_of(entries, key)
    while entries[place]["key"] != np.uint64(0):
        if entries[place]["key"] == key:
            return int(place)
        place = (place + 1) & mask
    return -1


@kernel
def ask_entry(entries: Any, key: np.uint64) -> None:
    """Ask for the memory of a key's entry, which is to be found soon; waits for none."""
    prefetch_entry(entries, home_of(entries, key))


@routine
def support_of(entries: Any, where: Any, kind: np.uint64, what: np.uint64) -> int:
    """Return how many others saw something at a place; 0 or less for none.

    `where` is (place, besides, own): `own` is what the asking task itself added there, and where
    a place counts purposes, `besides` is the purpose that asks and does not count.
    """
    place, besides, own = where
    found = find_entry(entries, key_of(place, kind, what))
    if found < 0:
        return 0
    others = whole(entries[found]["support"]) - own
    if (
        others > 0
        and besides != NOWHERE
        and (find_entry(entries, key_of(besides, kind, what)) >= 0)
    ):
        others -= 1
    return int(others)


@routine
def _fill(entries: Any, listed: Any) -> bool:
    """Put some more entries into a table; tell whether each had its place. Mutates: entries."""
    mask = whole(len(entries) - 1)
    for number in range(len(listed)):
        place, probes = home_of(entries, listed[number]["key"]), 0
        while entries[place]["key"] != np.uint64(0):
            place = (place + 1) & mask
            probes += 1
            if probes == PROBES_MAX:
                return False
        entries[place] = listed[number]
    return True


def table_of(listed: Entries, between: Callable[[], object] = lambda: None) -> Entries:
    """Return entries as a table that kernels search; calls `between` now and then.

    Those that ascend are put one behind another, which a large table takes a tenth of the time for.
    Requires: keys that differ and are not 0. Errors: ConfigError where more than PROBES_MAX want
    one place, as no hashes do, since each search would take that long.
    """
    size = 16
    while size < 2 * (len(listed) + 1):
        size *= 2
    entries = np.zeros(size, ENTRY)
    for first in range(0, len(listed), FILLED_AT_ONCE):
        if not _fill(entries, listed[first : first + FILLED_AT_ONCE]):
            raise ConfigError("a baseline's entries are crowded: their keys are no hashes")
        between()
    return entries

"""The row of a workload: as many bytes as its documentation says, in the same places everywhere."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stream.policy import Policy, default_policy
from stream.profiles import EVENT, FORBIDS_MAX, Layout, layout, lines_touched, sections
from stream.profiles.layout import COUNT_PAIRS_MAX, LINES_TOUCHED_MAX, SUM_PAIRS_MAX

TEXT = layout.__doc__
BUDGET = re.compile(r"^    (\w+) +(\d+(?: x \w+)*)  +\S", re.MULTILINE)
DTYPES = [
    layout.HEAD,
    layout.LOCAL,
    layout.COUNT_WINDOW,
    layout.SUM_WINDOW,
    layout.CONTEXT,
    layout.MARK,
    layout.TRANSITION,
    layout.LEDGER_ENTRY,
    EVENT,
]


def budget(counts: int, sums: int, forbids: int) -> dict[str, int]:
    """The bytes of each section as the docstring has them."""
    numbers = {"W": counts, "S": sums, "F": forbids}
    found = {}
    for name, product in BUDGET.findall(TEXT):
        size = 1
        for factor in product.split(" x "):
            size *= numbers[factor] if factor in numbers else int(factor)
        found[name] = size
    return found


@pytest.mark.parametrize(("counts", "sums", "forbids"), [(1, 1, 1), (9, 3, 4), (24, 8, 62)])
def test_the_byte_budget_is_that_of_the_documentation(counts: int, sums: int, forbids: int) -> None:
    """Section by section, for any number of windows and sequences, and nothing lies between."""
    dtype = Layout(tuple(range(counts)), tuple(range(sums)), tuple(range(forbids))).dtype
    said = budget(counts, sums, forbids)
    assert list(said) == list(dtype.names)
    assert said == {name: dtype[name].itemsize for name in dtype.names}
    assert sum(said.values()) == dtype.itemsize


def test_the_ceilings_are_those_of_the_documentation() -> None:
    """Where counters stop is said in the same place."""
    assert f"u32 bins at {layout.U32_MAX:,}" in TEXT
    assert "i64 bins at 5 x 10^17" in TEXT
    assert 17 * 5 * 10**17 < 1 << 63


def test_a_row_under_the_default_policy_keeps_to_4_kib() -> None:
    """The figure that the documentation gives for what we ship holds."""
    policy: Policy = default_policy()
    assert "With the shipped default policy that is at most 4 KiB in memory" in TEXT
    assert policy.layout.dtype.itemsize <= 4_096
    sizes = tuple(map(len, policy.layout))
    assert sum(budget(*sizes).values()) == policy.layout.dtype.itemsize


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_byte_of_a_row_is_a_field(dtype: np.dtype[np.void]) -> None:
    """No padding, so that equal rows are equal bytes; whole words, so that sections are copied."""
    assert dtype.itemsize % 8 == 0
    assert sum(dtype[name].itemsize for name in dtype.names) == dtype.itemsize


def test_a_union_keeps_the_places_of_the_first() -> None:
    """What both have stays where the first has it; what only the second has comes behind."""
    one, other = Layout((1, 2), (5,), ()), Layout((3, 2), (5, 6), (9,))
    assert one.union(other) == Layout((1, 2, 3), (5, 6), (9,))
    assert one.union(one) == one


def test_the_stated_numbers_fit() -> None:
    """A layout is within its numbers, or one of them is too many."""
    most = tuple(range(COUNT_PAIRS_MAX)), tuple(range(SUM_PAIRS_MAX)), tuple(range(FORBIDS_MAX))
    assert Layout(*most).fits()
    for place in range(3):
        more = [*most]
        more[place] = (*most[place], 99)
        assert not Layout(*more).fits()


def test_sections_are_views() -> None:
    """Kernels write into the rows themselves; without windows there are empty places."""
    rows = np.zeros(2, Layout((), (), ()).dtype)
    views = sections(rows)
    views.ledger[1, 7]["rule"] = 5
    assert rows[1]["ledger"][7]["rule"] == 5
    assert views.counts.shape == views.sums.shape == (2, 1)
    assert views.marks.shape == (2, 8, 1)


def test_lines_that_are_touched_end_before_the_transitions() -> None:
    """They are asked for ahead: all that nearly every event reads, and no more than the limit."""
    for forbids, lines in ((1, 17), (64, LINES_TOUCHED_MAX)):
        rows = np.zeros(2, Layout((1, 2), (), tuple(range(forbids))).dtype)
        begins = rows.dtype.fields["transitions"][1]
        assert lines_touched(sections(rows)) == min(-(-begins // 64), LINES_TOUCHED_MAX) == lines

"""What names a read: its operation and its values, as often as they stand there; and classes."""

from __future__ import annotations

import numpy as np

from stream.baselines import CALL, asked_of, find_group
from stream.baselines.baseline import GROUP
from stream.profiles import VALUE


def asked(*values: int) -> int:
    """What names a call of one operation with these values under one name."""
    held, call = np.zeros(len(values) + 1, VALUE), np.zeros(1, CALL)
    held["name"], held["value"][: len(values)] = 3, values
    call["operation"], call["values_count"] = 77, len(values)
    return int(asked_of(call[0], held))


def test_equal_values_do_not_cancel_each_other():
    """A value that stands twice makes another read than none, and than once."""
    assert len({asked(), asked(5), asked(5, 5), asked(5, 5, 5), asked(6, 6)}) == 5


def test_the_order_of_values_does_not_matter():
    """The same values in another order are the same read; other values are another."""
    assert asked(5, 6, 7) == asked(7, 5, 6) != asked(5, 6, 8)


def test_a_class_is_found_among_any_number_of_others():
    """The first, the last, each between; and none where it is not there."""
    for count in (0, 1, 2, 3, 4, 7, 8, 9, 100):
        groups = np.zeros(count, GROUP)
        groups["group"] = np.arange(1, count + 1) * 10
        for place in range(count):
            assert find_group(groups, np.uint64(10 * (place + 1))) == place
        for absent in range(5, 10 * count + 20, 10):
            assert find_group(groups, np.uint64(absent)) == -1

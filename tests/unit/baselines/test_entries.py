"""The table of a baseline's entries: all that is in it is found, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from stream.baselines import ENTRY, find_entry, table_of
from stream.baselines.entries import FILLED_AT_ONCE, PROBES_MAX, home_of
from stream.errors import ConfigError
from stream.kernel import is_compiled

EVEN, LARGEST_KEY = 2, (1 << 64) - 1


def listed(keys: list[int]) -> np.ndarray:
    """Entries of these keys, each with its number as support."""
    out = np.zeros(len(keys), ENTRY)
    out["key"] = np.array(keys, np.uint64)
    out["support"] = np.arange(len(keys)) % 1_000
    return out


def found(table: np.ndarray, keys: list[int]) -> list[int]:
    """The support of each of these, -1 where it is not there."""
    places = [find_entry(table, np.uint64(each)) for each in keys]
    return [int(table["support"][each]) if each >= 0 else -1 for each in places]


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_all_are_found_and_no_others(count: int) -> None:
    """In whatever order they come; those of the largest keys too, which are at the end."""
    chance = np.random.Generator(np.random.PCG64(count))
    keys = (chance.integers(1 << 63, size=count, dtype=np.uint64) << np.uint64(1)) | np.uint64(1)
    all_of = [*keys.tolist(), *(LARGEST_KEY - EVEN * each for each in range(5))]
    shuffled = chance.permutation(np.array(all_of, np.uint64)).tolist()
    for each in (sorted(all_of), shuffled):
        table = table_of(listed(each))
        assert found(table, each) == [number % 1_000 for number in range(len(each))]
        assert set(found(table, [key ^ EVEN << 40 for key in each])) == {-1}
        assert 2 * len(each) < len(table)


@pytest.mark.skipif(not is_compiled(), reason="as plain Python it takes half a minute")
def test_a_large_one_is_filled_in_parts() -> None:
    """Whoever fills it is called between, and may rest then; keys ascend through the table."""
    count, rests = 2 * FILLED_AT_ONCE + 3, []
    keys = [(each << 46) + 1 for each in range(count)]
    table = table_of(listed(keys), lambda: rests.append(1))
    assert len(rests) == 3
    sample = [*range(0, count, 997), count - 1]
    assert found(table, [keys[each] for each in sample]) == [each % 1_000 for each in sample]
    used = table["key"][table["key"] != 0]
    assert (used[1:] > used[:-1]).all()
    homes = [home_of(table, np.uint64(each)) for each in (0, 1 << 63, LARGEST_KEY)]
    assert homes == [0, len(table) // 2, len(table) - 1]


def test_keys_that_are_no_hashes_are_refused() -> None:
    """However many a forged baseline lets want one place, nobody searches through them."""
    start = 1 << 63
    few = [start + each for each in range(PROBES_MAX)]
    assert found(table_of(listed(few)), few[:: PROBES_MAX - 1]) == [0, (PROBES_MAX - 1) % 1_000]
    with pytest.raises(ConfigError, match="crowded"):
        table_of(listed([*few, start + PROBES_MAX]))

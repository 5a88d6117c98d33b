"""Operations by hash: matched once, forgotten when there are too many, named once a partition."""

from __future__ import annotations

import pytest

from stream.events import Request, encode_request
from stream.identity import home_partition
from stream.kernel import HashKey
from stream.profiles import Arrival, Batch, Decoder, OperationTable
from stream.profiles.operations import CHANGE, READ, effect_of

KEY = HashKey(bytes(16))
A, B = "spiffe://td/a", "spiffe://td/b"


class Sets:
    """Knows two sets, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def sets_of(self, operation: str, effect: str) -> int:
        """Set 0 has what begins with x, set 63 what reads."""
        self.asked.append(operation)
        return int(operation.startswith("x")) | (effect == "read") << 63


def batch_of(*calls: tuple[str, str]) -> Batch:
    """A batch of calls (workload, operation) on two partitions."""
    arrivals = []
    for offset, (workload, operation) in enumerate(calls):
        value = encode_request(Request(1, workload, operation))
        partition = home_partition(workload.encode(), 2)
        arrivals.append(Arrival("t", partition, [offset], [1], [value]))
    return Decoder(KEY, 2).decode(arrivals)[0]


@pytest.mark.parametrize(
    ("operation", "effect"),
    [
        ("GET /x", READ),
        ("HEAD /x", READ),
        ("OPTIONS *", READ),
        ("TRACE /x", READ),
        ("POST /x", CHANGE),
        ("get /x", CHANGE),
        ("GETTING /x", CHANGE),
        ("tool:read_mail", CHANGE),
        ("GET", READ),
    ],
)
def test_safe_methods_read_and_all_else_changes(operation: str, effect: int) -> None:
    """Where nobody says, the method decides; a tool's name says nothing."""
    assert effect_of(operation) == effect


def test_an_operation_is_matched_once() -> None:
    """For both effects, and never again while it is known."""
    sets = Sets()
    table = OperationTable(sets, 2, 8)
    batch = batch_of((A, "x1"), (A, "y"), (A, "x1"))
    index, _ = table.index(batch)
    index, _ = table.index(batch)
    view = table.view(index)
    assert sorted(sets.asked) == ["x1", "x1", "y", "y"]
    assert view.sets[view.index].tolist() == [[1 << 63 | 1, 1], [1 << 63, 0], [1 << 63 | 1, 1]]
    assert len(table) == 2


def test_a_name_is_handed_on_once_a_partition() -> None:
    """The first use in each partition, in order of arrival; emptied, the table says it again."""
    home_a, home_b = (home_partition(each.encode(), 2) for each in (A, B))
    assert home_a != home_b
    table = OperationTable(Sets(), 2, 2)
    calls = batch_of((A, "x"), (B, "x"), (A, "x"), (A, "y"))
    x, y = KEY.hash("x"), KEY.hash("y")
    _, names = table.index(calls)
    assert names == [(home_a, x, "x"), (home_b, x, "x"), (home_a, y, "y")]
    assert table.index(calls)[1] == []
    table.index(batch_of((A, "z")))
    assert table.index(calls)[1] == names


def test_a_full_table_knows_the_batch_at_hand() -> None:
    """Emptied, it learns again all of the batch, also what it knew before."""
    table = OperationTable(Sets(), 2, 3)
    table.index(batch_of((A, "a"), (A, "b")))
    index, _ = table.index(batch_of((A, "b"), (A, "x"), (A, "c")))
    assert len(table) == 3
    assert len(set(index.tolist())) == 3
    sets = table.view(index).sets[index, CHANGE].tolist()
    assert sets == [0, 1, 0]

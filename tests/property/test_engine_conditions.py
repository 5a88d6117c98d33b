"""What is journalled: policies that come and go, rows that are forgotten, eras."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.events import encode_request
from stream.policy import Policy
from tests.models.driver import KEY, Driver
from tests.models.enforcer import Pair, has_demand, rules_of
from tests.models.logs import DAY, T0_MS, Log, change_of, logs, policies

cuts = st.sets(st.integers(1, 120))


def named(policy: Policy, workload: str) -> set[Pair]:
    """The windows that a policy names for a workload."""
    pairs = {Pair(*each.pair) for each in rules_of(policy, workload) if each.pair}
    demand = {
        Pair(*each.pair)._replace(measure="refused")
        for each in rules_of(policy, workload)
        if each.pair and has_demand(each)
    }
    return pairs | demand


@given(logs(), st.lists(policies(), min_size=2, max_size=3), st.data())
def test_a_policy_may_come_back(log: Log, known: list[Policy], data: st.DataObject) -> None:
    """Policies that change and return at any offset give the same, batched and evicted or not."""
    length = len(log.lines)
    offsets = sorted(data.draw(st.sets(st.integers(1, length), max_size=6)))
    order = data.draw(st.lists(st.sampled_from(known), min_size=7, max_size=7))
    changes = [
        change_of(policy, from_offset=offset)
        for policy, offset in zip(order, [0, *offsets], strict=False)
    ]
    log = log._replace(changes=tuple(changes))
    whole, leaving = Driver(log).run(log.lines), Driver(log)
    edges = [0, *sorted(each for each in data.draw(cuts) if each < length), length]
    for start, end in zip(edges, edges[1:], strict=False):
        leaving.run(log.lines[start:end])
        leaving.evict()
    assert leaving.of(0)[:2] == whole.of(0)[:2]
    assert leaving.rows() == whole.rows()

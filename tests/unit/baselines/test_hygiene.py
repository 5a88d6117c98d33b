"""What is set aside: what no others do, where nobody vouches for himself."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from stream.baselines import BIT, Baseline
from stream.events import Request, encode_request
from stream.policy import default_policy
from stream.replay import Replay
from tests.models.tasks import KEY, T0_MS, THIEF, baseline, call, pay_bill, task

STEAL = call("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")
HOUR_MS = 3_600_000


def usual(workloads: int, each: int = 1) -> list[Request]:
    """Usual tasks of so many workloads."""
    return [
        event
        for number in range(workloads)
        for turn in range(each)
        for event in task(
            f"u{number}-{turn}", f"agent-{number}", "pay-bill", pay_bill(number + turn),
            T0_MS + number * 60_000 + turn * HOUR_MS,
        )
    ]  # fmt: skip


def thefts(agent: str, count: int) -> list[Request]:
    """The same theft, so many times, by one workload."""
    return [
        event
        for number in range(count)
        for event in task(
            f"bad-{number}", agent, "pay-bill", pay_bill(number, STEAL), T0_MS + number * 60_000 + 7
        )
    ]


def learned_of(events: Iterable[Request]) -> Baseline:
    """What is learned of events, in the order of time."""
    return baseline(sorted(events, key=lambda each: each.at_ms))


def bits_of(made: Baseline, agent: str) -> float:
    """Return the evidence of a theft by a workload."""
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(made, "v")
    later = task("t", agent, "pay-bill", pay_bill(3, STEAL), T0_MS + 10**9)
    _, _, scores = machine.score([encode_request(each) for each in later])
    return float(scores.rows["evidence"].max()) / BIT


@pytest.mark.parametrize("count", [1, 3, 5, 16])
def test_a_workload_does_not_support_itself(count: int) -> None:
    """However often one of many does the same: all of it is aside, and another's is odd."""
    made = learned_of([*usual(37), *thefts("thief", count)])
    assert made.facts.aside == count
    assert bits_of(made, "another") > 3.0
    assert bits_of(made, "thief") > 3.0


def test_busy_workloads_do_not_support_themselves_either() -> None:
    """Where all have many tasks, and where purposes have two workloads only."""
    made = learned_of([*usual(37, 2), *thefts("agent-5", 4)])
    assert made.facts.aside >= 4
    assert bits_of(made, "another") > 3.0
    made = learned_of([*usual(2, 16), *thefts("agent-1", 3)])
    assert made.facts.aside >= 3
    assert bits_of(made, "another") > 3.0


@pytest.mark.parametrize(("workloads", "each", "own"), [(8, 6, 2), (3, 12, 3)])
def test_values_of_ones_own_are_no_oddity(workloads: int, each: int, own: int) -> None:
    """Where some workloads, or all, always pay somebody of their own, nothing is aside."""
    events = []
    for number in range(workloads):
        payee = f"recipient:DE8937040044053201{number if number < own else 9_999:04}"
        pays = call("send_money", payee, "amount:91", "subject:bill")
        for turn in range(each):
            at_ms = T0_MS + number * 60_000 + turn * HOUR_MS
            name = f"u{number}-{turn}"
            events += task(name, f"agent-{number}", "pay-bill", [*pay_bill(turn)[:1], pays], at_ms)
    assert learned_of(events).facts.aside == 0


def test_what_several_workloads_do_is_usual() -> None:
    """Two others that do the same are support, as ever."""
    some = [each for number in range(4) for each in thefts(f"agent-{number}", 1)]
    named = [
        type(each)(**{**_fields(each), "task": f"{each.workload[-1]}-{each.task}"}) for each in some
    ]
    made = learned_of([*usual(37), *named])
    assert made.facts.aside == 0
    assert bits_of(made, "another") == 0.0


def test_of_a_purpose_that_one_workload_has_tasks_support_each_other() -> None:
    """Nobody else can: three alike are usual there, two are not."""
    alone = usual(1, 30)
    assert bits_of(learned_of([*alone, *thefts("agent-0", 2)]), "agent-0") > 3.0
    assert bits_of(learned_of([*alone, *thefts("agent-0", 3)]), "agent-0") == 0.0


def _fields(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in request.__struct_fields__}

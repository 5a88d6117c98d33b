"""What a partition of a live log teaches: judged first, each event once, the alarmed held aside."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest

from stream.baselines import run_name
from stream.cli.baseline_lesson import aside_line, released_in
from stream.enforcement import NOTHING_EXPECTED
from stream.events import Request, Source, encode_request, wrap
from stream.identity import canonical_workload, home_partition
from stream.policy import ExemptionSpec, Policy, compile_policy
from stream.replay import History, Lesson
from tests.models.logs import policy_of
from tests.models.tasks import CLASS, KEY, T0_MS, content, history, learned, pay_bill, task

TOPIC = "requests"
CALM = policy_of()
BURST = policy_of(
    {
        "limit": {"measure": "requests", "at_most": 9, "per": "1m"},
        "action": "throttle",
        "rate": "1/s",
        "for": "10m",
        "mode": "shadow",
    }
)
CHAIN = policy_of(
    {
        "forbid": {"first": ["tool:read_file"], "then": ["tool:delete_file"], "within": "1m"},
        "action": "revoke",
        "on": "task",
        "for": "1h",
        "mode": "enforce",
    },
    tasks="vouched",
)
EVENTS = history(8, agents=3)


def taught(
    events: Sequence[Request | bytes],
    policy: Policy = CALM,
    released: Collection[tuple[int, int]] = (),
    cut: int = 7,
    **limits: Any,
) -> History:
    """What a log of one partition teaches, read in pieces of `cut`."""
    values = [each if isinstance(each, bytes) else encode_request(each) for each in events]
    known = History(KEY, released)
    lesson = Lesson(known, KEY, (policy, NOTHING_EXPECTED), (TOPIC, 0), **limits)
    lesson.divide(1)
    for start in range(0, len(values), cut):
        some = values[start : start + cut]
        lesson.take(range(start, start + len(some)), [T0_MS + 10**9] * len(some), some)
    return known


def flood(agent: str, count: int, at_ms: int) -> list[Request]:
    """Calls without a task, a few milliseconds apart."""
    return [
        Request(at_ms=at_ms + 5 * each, workload=f"{CLASS}/{agent}", operation="tool:read_file")
        for each in range(count)
    ]


@pytest.mark.parametrize("cut", [1, 7, 1_000])
def test_what_nothing_alarms_at_teaches_what_a_file_does(cut: int) -> None:
    """The same tasks, however the log is cut."""
    known = taught(EVENTS, cut=cut)
    assert content(known.tasks()) == content(learned(EVENTS))
    assert known.aside == ([], 0)
    assert (known.events, known.rejects) == (len(EVENTS), {})


def test_an_event_is_learned_once_and_at_home() -> None:
    """What lies elsewhere is not; what was forwarded is, and not when it comes again."""
    payloads = [encode_request(each) for each in EVENTS]
    names = [canonical_workload(each.workload).encode() for each in EVENTS]
    known, parts = History(KEY), 3
    for home in range(parts):
        lesson = Lesson(known, KEY, (CALM, NOTHING_EXPECTED), (TOPIC, home))
        lesson.divide(parts)
        mine = [
            wrap(Source(TOPIC, 9, 1, place), payload, T0_MS + 10**9, KEY.seal)
            for place, (name, payload) in enumerate(zip(names, payloads, strict=True))
            if home_partition(name, parts) == home
        ]
        values = [*mine, *payloads[:5], *mine]
        lesson.take(range(len(values)), [T0_MS + 10**9] * len(values), values)
    first = [home_partition(name, parts) for name in names[:5]]
    at_home = sum(parts - 1 for _ in first)
    assert known.rejects == {"misrouted": at_home}
    # The five that lie at home as they are come as events of their own: no seal, another place.
    assert known.events == len(EVENTS) + 5


def test_a_task_that_broke_a_rule_is_held_aside_unless_it_is_released() -> None:
    """Nothing else of its workload is; the line says what it was."""
    chained = pay_bill(1, {"operation": "tool:delete_file", "resources": ("path:bill-01.txt",)})
    bad = list(task("odd", "agent-0", "pay-bill", chained, EVENTS[-1].at_ms + 1))
    known = taught([*EVENTS, *bad], CHAIN)
    assert content(known.tasks()) == content(learned(EVENTS))
    (held,), count = known.aside
    assert (count, held.texts, held.calls) == (1, (f"{CLASS}/agent-0", "odd", "pay-bill"), 3)
    assert held.rules == ("rule-0",)
    released = {(KEY.hash(f"{CLASS}/agent-0"), run_name(KEY.hash("odd"), bad[0].at_ms))}
    known = taught([*EVENTS, *bad], CHAIN, released)
    assert content(known.tasks()) == content(learned([*EVENTS, *bad]))
    assert known.aside == ([], 0)


@pytest.mark.parametrize("odd_at", [1, 300, 600])
@pytest.mark.parametrize("cut", [7, 1_000])
def test_a_long_task_is_held_aside_whole(odd_at: int, cut: int) -> None:
    """Of more calls than a part has, wherever in it the command fell."""
    chained = [
        {"operation": "tool:read_file", "resources": ("path:bill-01.txt",)},
        {"operation": "tool:delete_file", "resources": ("path:bill-01.txt",)},
    ]
    calls: list[dict[str, object]] = [{"operation": "tool:list_files"}] * 700
    calls[odd_at : odd_at + 2] = chained
    bad = list(task("odd", "agent-0", "pay-bill", calls, EVENTS[-1].at_ms + 1))
    known = taught([*EVENTS, *bad], CHAIN, cut=cut)
    assert content(known.tasks()) == content(learned(EVENTS))
    (held,), count = known.aside
    assert (count, held.texts[1], held.rules) == (1, "odd", ("rule-0",))
    # Of two equally long parts that had taught, a candidate keeps one.
    assert held.calls == (700 if odd_at < 512 else 700 - 256)
    released = {(KEY.hash(f"{CLASS}/agent-0"), run_name(KEY.hash("odd"), bad[0].at_ms))}
    again = taught([*EVENTS, *bad], CHAIN, released, cut)
    assert content(again.tasks()) == content(learned([*EVENTS, *bad]))
    assert again.aside == ([], 0)


@pytest.mark.parametrize("odd_at", [1, 6])
def test_a_task_that_pauses_is_held_aside_whole(odd_at: int) -> None:
    """What it did before a long silence, and what it does afterwards."""
    chained = [{"operation": "tool:read_file"}, {"operation": "tool:delete_file"}]
    calls: list[dict[str, object]] = [{"operation": "tool:list_files"}] * 10
    calls[odd_at : odd_at + 2] = chained
    bad = list(task("odd", "agent-0", "pay-bill", calls, EVENTS[-1].at_ms + 1))
    later = [msgspec.structs.replace(each, at_ms=each.at_ms + 2_000_000) for each in bad[6:]]
    known = taught([*EVENTS, *bad[:6], *later], CHAIN)
    assert content(known.tasks()) == content(learned(EVENTS))
    (held,), count = known.aside
    assert (count, held.texts[1], held.calls, held.rules) == (1, "odd", 10, ("rule-0",))


def test_what_a_workload_does_while_a_command_holds_teaches_nothing() -> None:
    """In shadow too; others, and what it does later, teach as ever."""
    start = EVENTS[0].at_ms
    during = list(task("during", "agent-1", "pay-bill", pay_bill(2), start + 60_000))
    after = list(task("after", "agent-1", "pay-bill", pay_bill(3), start + 3_600_000))
    other = list(task("other", "agent-2", "pay-bill", pay_bill(3), start + 60_000))
    events = [*flood("agent-1", 12, start), *during, *other, *after]
    known = taught(events, BURST)
    assert content(known.tasks()) == content(learned([*other, *after]))
    held, count = known.aside
    assert count == 2
    assert sorted(each.texts[1] for each in held) == ["", "during"]
    (calls,) = [each for each in held if not each.texts[1]]
    released = {(KEY.hash(f"{CLASS}/agent-1"), calls.first_ms + 1)}
    known = taught(events, BURST, released)
    again = learned([*events[:12], *other, *after])
    assert content(known.tasks()) == content(again)


def test_whoever_finds_no_row_teaches_nothing() -> None:
    """Nobody could judge them; they are counted under the reason."""
    crowd = [each for number in range(70) for each in flood(f"many-{number}", 2, T0_MS)]
    known = taught(crowd, slots_max=64)
    assert len(known.tasks().tasks) == 64
    assert known.events == 128
    assert known.rejects.total() == 12


def test_many_alarms_of_a_workload_are_kept_as_few_spans() -> None:
    """The oldest become one, which holds more aside and never less."""
    floods, gap_ms = [], 3_600_000
    for number in range(40):
        floods += flood("agent-1", 12, T0_MS + number * gap_ms)
    late = T0_MS + 41 * gap_ms
    free = list(task("free", "agent-1", "pay-bill", pay_bill(3), late))
    known = taught([*floods, *free], BURST)
    assert content(known.tasks()) == content(learned(free))
    assert known.aside[1] == 40


def test_runs_of_one_name_are_held_aside_one_by_one() -> None:
    """What one day's run did does not speak against the next day's; a release is of one run."""
    day_ms, start = 86_400_000, EVENTS[-1].at_ms + 1
    chained = pay_bill(1, {"operation": "tool:delete_file", "resources": ("path:bill-01.txt",)})
    runs = [
        list(task("daily", "agent-0", "pay-bill", calls, start + day * day_ms))
        for day, calls in enumerate((pay_bill(1), chained, pay_bill(2), chained))
    ]
    events = [*EVENTS, *(each for run in runs for each in run)]
    known = taught(events, CHAIN)
    assert content(known.tasks()) == content(learned([*EVENTS, *runs[0], *runs[2]]))
    held, count = known.aside
    assert (count, [each.texts[1] for each in held]) == (2, ["daily", "daily"])
    lines = "\n".join(aside_line(each).decode() for each in held[:1])
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(lines)
        file.flush()
        released = released_in(file.name, KEY)
    known = taught(events, CHAIN, released)
    assert content(known.tasks()) == content(learned([*EVENTS, *runs[0], *runs[1], *runs[2]]))
    assert known.aside[1] == 1


@pytest.mark.parametrize("cut", [1, 7, 1_000])
def test_who_did_not_prove_who_he_is_neither_teaches_nor_hides(cut: int) -> None:
    """Between the events of others: the same tasks, and the same held aside for the same rules."""
    chained = pay_bill(1, {"operation": "tool:delete_file", "resources": ("path:bill-01.txt",)})
    bad = list(task("odd", "agent-0", "pay-bill", chained, EVENTS[-1].at_ms + 1))
    honest = [*EVENTS, *bad]
    forged = [
        each
        for event in honest
        for each in (
            msgspec.structs.replace(event, authenticated=False, kind="completion"),
            msgspec.structs.replace(event, authenticated=False, workload=f"{CLASS}/nobody"),
            event,
        )
    ]
    known, same = taught(forged, CHAIN, cut=cut), taught(honest, CHAIN)
    assert content(known.tasks()) == content(same.tasks())
    assert known.aside == same.aside
    assert (known.unauthenticated, known.names) == (2 * len(honest), same.names)


@pytest.mark.parametrize("exempt", [(), ("spiffe://*/agents/agent-0",), ("spiffe://*/**",)])
def test_exemptions_are_not_asked(exempt: tuple[str, ...]) -> None:
    """Whom no command binds is judged like everybody: what he breaks is not usual for others."""
    chained = pay_bill(1, {"operation": "tool:delete_file", "resources": ("path:bill-01.txt",)})
    bad = list(task("odd", "agent-0", "pay-bill", chained, EVENTS[-1].at_ms + 1))
    spec = msgspec.structs.replace(
        CHAIN.spec,
        exemptions=tuple(ExemptionSpec(workloads=(each,), note="tests") for each in exempt),
    )
    known = taught([*EVENTS, *bad], compile_policy(spec))
    assert content(known.tasks()) == content(learned(EVENTS))
    (held,), count = known.aside
    assert (count, held.texts[1], held.rules) == (1, "odd", ("rule-0",))

"""Task novelty: what a task's evidence is, in each mode, through the engine."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from stream.baselines import PURPOSES, is_of_all, key_of, table_of
from stream.cli.score_lines import score_lines
from stream.errors import ConfigError
from stream.events import Request, encode_request
from stream.kernel import HashKey
from stream.policy import default_policy
from stream.replay import Replay
from tests.models.tasks import (
    CLASS,
    KEY,
    PAYEE,
    T0_MS,
    THIEF,
    baseline,
    book_trip,
    call,
    history,
    learned,
    pay_bill,
    task,
)

BASELINE = baseline(history(60, agents=12))
TOOLS = "list_tools", "say", "count", "send_money", "never"
STEAL = call("send_money", f"recipient:{THIEF}", "amount:5000", "subject:savings")


def replayed(events, cut=1_000, made=BASELINE):
    """The lines of evidence of events, and the findings."""
    machine = Replay(default_policy(), KEY, slots_max=64)
    machine.expect(made, "v")
    lines, findings = [], []
    payloads = [encode_request(each) for each in events]
    for start in range(0, len(payloads), cut):
        result, _, scores = machine.score(payloads[start : start + cut])
        lines += [json.loads(each) for each in score_lines(scores)]
        findings += [each for each in result.findings if each.rule == "task-novelty"]
    return lines, findings


def most(*calls, purpose="pay-bill", agent="new"):
    """The evidence after a task's last event."""
    events = task("t", agent, purpose, list(calls), T0_MS + 10**9)
    return replayed(list(events))[0][-1]


def test_a_usual_task_has_little_evidence():
    """What tasks of the purpose do, with values they had, is not odd."""
    line = most(*pay_bill(3))
    assert (line["evidence_bits"], line["alarm"], line["ready"], line["mode"]) == (
        0,
        False,
        True,
        "known",
    )


def test_a_payment_to_a_stranger_is_odd_and_says_why():
    """A new address at a changing call is evidence, an alarm, and a finding in words."""
    lines, findings = replayed(list(task("t", "new", "pay-bill", pay_bill(3, STEAL))))
    assert [each["alarm"] for each in lines] == [False, False, False, True, True]
    assert lines[-1]["evidence_bits"] > 5
    assert lines[3]["parts"]["identifier"] > 3
    (finding,) = findings
    assert "an address in recipient new to tasks of purpose pay-bill" in finding.text
    assert finding.bits == finding.observed > finding.expected
    assert THIEF.lower() not in finding.text.lower()


def test_the_value_matters_not_only_the_operation():
    """The same operation to the usual payee is not odd."""
    again = call("send_money", f"recipient:{PAYEE}", "amount:92", "subject:bill")
    assert most(*pay_bill(3, again))["evidence_bits"] == 0


def test_a_change_of_another_purpose_is_odd_and_a_read_less():
    """An operation new to the purpose weighs more where it changes something."""
    change = most(*pay_bill(3, call("reserve_hotel", "hotel:hotel 1")))["evidence_bits"]
    read = most(*pay_bill(3, call("search_hotels", "city:rome", effect="read")))["evidence_bits"]
    assert change > read >= 0
    assert change > 1.5


def test_errors_and_wandering_speak_for_a_lost_agent():
    """After failed calls the same oddity is less evidence."""
    failed = {**call("read_file", "path:bill-01.txt", effect="read"), "outcome": "failed"}
    assert (
        most(*pay_bill(1, failed, failed, STEAL))["evidence_bits"]
        < (most(*pay_bill(1, STEAL))["evidence_bits"])
    )


def test_a_read_that_brought_much_more_taints_what_follows():
    """A result far larger than ever is no evidence by itself, but adds to what comes after it."""
    larger = call("read_file", "path:bill-03.txt", effect="read", size=60_000)
    alone = most(larger)
    assert alone["evidence_bits"] == 0
    usual = most(call("read_file", "path:bill-03.txt", effect="read", size=600), STEAL)
    assert most(larger, STEAL)["evidence_bits"] > usual["evidence_bits"] + 2


def test_a_new_purpose_is_compared_with_the_others_of_its_class():
    """A purpose never seen is ready, and its mode says what it was compared with."""
    line = most(*pay_bill(3, STEAL), purpose="never-seen")
    assert (line["mode"], line["ready"]) == ("new", True)
    usual = most(*book_trip(2), purpose="never-seen")
    assert line["evidence_bits"] > usual["evidence_bits"]


def test_a_grant_that_lists_its_changes_makes_others_odd():
    """Of a new purpose a change that the grant does not list is evidence."""
    events = list(task("t", "new", "never-seen", book_trip(1, STEAL), T0_MS))
    bare = replayed(events)[0][-1]["evidence_bits"]
    grant = {name: getattr(events[0], name) for name in events[0].__struct_fields__}
    events[0] = type(events[0])(**{**grant, "scopes": ("tool:reserve_hotel",)})
    assert replayed(events)[0][-1]["evidence_bits"] == pytest.approx(bare + 4)


def test_an_undeclared_purpose_is_inferred():
    """Without a purpose the usual task of one is explained, a strange call is not."""
    line = most(*pay_bill(3), purpose="")
    assert (line["mode"], line["ready"]) == ("undeclared", True)
    assert most(*pay_bill(3, STEAL), purpose="")["evidence_bits"] > line["evidence_bits"] + 3


@pytest.mark.parametrize(("tasks", "mode"), [(1, "new"), (2, "known")])
def test_a_purpose_of_one_task_is_compared_as_a_new_one(tasks, mode):
    """Two tasks make a purpose known, whether a call is one of theirs or not."""
    events = history(12)
    for number in range(tasks):
        events += task(f"lone-{number}", f"a{number}", "lone", pay_bill(1), T0_MS + 10**7 + number)
    calls = pay_bill(1, call("never_seen"))
    lines = replayed(list(task("t", "new", "lone", calls)), made=baseline(events))[0]
    assert [each["mode"] for each in lines] == [mode] * 5


def test_what_all_purposes_do_says_nothing_of_which_it_is():
    """Such calls are not looked up under each purpose, and evidence is what that would bring."""
    shared = [call("list_tools", effect="read"), call("say")]
    events = []
    for number in range(12):
        for each, usual in (("pay-bill", pay_bill), ("book-trip", book_trip)):
            calls = usual(number, *shared, *([call("count")] if each == "book-trip" else ()))
            name = f"{each}-{number}"
            events += task(name, f"a{number % 3}", each, calls, T0_MS + number * 60_000)
    made = baseline(sorted(events, key=lambda each: each.at_ms))
    group = np.uint64(KEY.hash(CLASS))
    facts = table_of(made.listed)
    found = [is_of_all(facts, group, np.uint64(KEY.hash(f"tool:{each}"))) for each in TOOLS]
    assert found == [True, True, False, False, False]
    counted = made.listed["key"] == key_of(group, PURPOSES, np.uint64(0))
    assert counted.sum() == 1
    other = made._replace(listed=made.listed[~counted])
    calls = [*shared, *pay_bill(1), *shared, call("count"), call("say"), STEAL, *shared]
    undeclared = list(task("t", "new", "", calls))
    assert replayed(undeclared, made=made)[0] == replayed(undeclared, made=other)[0]


def elsewhere(events):
    """The same events of a workload in a class that nobody knows, without a purpose."""
    for each in events:
        fields = {name: getattr(each, name) for name in each.__struct_fields__}
        yield type(each)(**{**fields, "workload": "spiffe://other.example/x/y", "purpose": ""})


def test_a_class_never_seen_is_compared_with_the_estate():
    """Where a class has no purposes, those of all others are its peers."""
    line = replayed(list(elsewhere(task("t", "a", "p", pay_bill(1)))))[0][-1]
    assert (line["ready"], line["mode"]) == (True, "new")


def test_without_peers_it_is_not_ready():
    """Where one purpose is all that is known, another is no evidence, and it says so."""
    one = [each for each in history(12) if each.purpose == "pay-bill"]
    events = list(elsewhere(task("t", "a", "p", pay_bill(1, STEAL))))
    line = replayed(events, made=baseline(one))[0][-1]
    assert (line["ready"], line["mode"], line["alarm"]) == (False, "not_ready", False)
    assert line["evidence_bits"] == 0


def test_batches_do_not_change_evidence():
    """However the events are cut, each line and finding is the same."""
    events = [
        *task("a", "one", "pay-bill", pay_bill(1, STEAL), T0_MS),
        *task("b", "two", "book-trip", book_trip(2, STEAL), T0_MS + 500),
        *task("c", "one", "", pay_bill(4, STEAL), T0_MS + 700),
    ]
    events.sort(key=lambda each: each.at_ms)
    whole, findings = replayed(events)
    for cut in (1, 3):
        lines, others = replayed(events, cut)
        assert [_without_position(each) for each in lines] == (
            [_without_position(each) for each in whole]
        )
        assert others == findings


def _without_position(line):
    return {name: value for name, value in line.items() if name != "position"}


def test_lines_stand_in_the_order_of_the_input():
    """One line for each event, in its place, with its id, however many partitions there are."""
    events = history(6)
    machine = Replay(default_policy(), KEY, partitions=5)
    machine.expect(BASELINE, "v")
    payloads = [encode_request(each) for each in events]
    lines = []
    for start in range(0, len(payloads), 10):
        _, _, scores = machine.score(payloads[start : start + 10])
        lines += [json.loads(each) for each in score_lines(scores)]
    assert [each["id"] for each in lines] == [each.id for each in events]
    assert [each["position"] for each in lines] == list(range(len(events)))


def test_another_hash_key_is_an_error():
    """A baseline of another key says nothing, so it is refused, not used."""
    machine = Replay(default_policy(), HashKey(bytes(16)))
    with pytest.raises(ConfigError, match="learned under hash key"):
        machine.expect(BASELINE, "v")


def test_attacks_among_what_is_learned_are_set_aside():
    """A few odd tasks in the history teach nothing, so the same is still odd later."""
    events = history(60, agents=12)
    for number, thief in enumerate((THIEF, "FR7630006000011234567890189")):
        steal = call("send_money", f"recipient:{thief}", "amount:5000", "subject:savings")
        events += task(f"bad-{number}", f"agent-{number}", "pay-bill", pay_bill(number, steal))
    made = baseline(events)
    assert made.facts.aside >= 1
    assert made.facts.tasks == len(learned(events).tasks) == 122


def declared(events, purpose):
    """The same events with another purpose; empty for none."""
    return [msgspec.structs.replace(each, purpose=purpose) for each in events]


def test_where_nobody_declares_purposes_tasks_are_compared_with_all_of_their_class():
    """As of one purpose: a stranger's address alarms, what is usual does not."""
    made = baseline(declared(history(60, agents=12), ""))
    usual = declared(task("t", "new", "", pay_bill(3), T0_MS + 10**9), "")
    lines, _ = replayed(usual, made=made)
    assert {each["mode"] for each in lines} == {"known"}
    assert not any(each["alarm"] for each in lines)
    odd = declared(task("t", "new", "", pay_bill(3, STEAL), T0_MS + 10**9), "")
    lines, findings = replayed(odd, made=made)
    assert lines[-1]["alarm"] and lines[-1]["evidence_bits"] > 5
    assert len(findings) == 1


def test_purposes_that_one_workload_alone_has_have_thresholds():
    """Its own tasks are left out one by one, since no other workload can stand for it."""
    events = [
        event
        for agent in range(6)
        for number in range(16)
        for event in task(
            f"{agent}-{number}", f"agent-{agent}", f"of-{agent}", pay_bill(number + agent),
            T0_MS + number * 60_000,
        )
    ]  # fmt: skip
    made = baseline(sorted(events, key=lambda each: each.at_ms))
    assert made.facts.tails[0].tasks == 96
    odd = task("t", "agent-1", "of-1", pay_bill(3, STEAL), T0_MS + 10**9)
    lines, findings = replayed(list(odd), made=made)
    assert lines[-1]["mode"] == "known"
    assert lines[-1]["alarm"]
    assert len(findings) == 1


def test_calls_without_a_task_begin_anew_at_another_purpose():
    """What a workload did for one purpose says nothing about what it does for the next."""
    calls = [*pay_bill(3, STEAL), *book_trip(1)]
    purposes = ["pay-bill"] * 3 + ["book-trip"] * 2
    events = [
        Request(
            at_ms=T0_MS + 10**9 + 1_000 * place,
            workload="spiffe://bank.example/agents/new",
            purpose=purpose,
            **each,
        )
        for place, (purpose, each) in enumerate(zip(purposes, calls, strict=True))
    ]
    lines, _ = replayed(events)
    assert lines[2]["evidence_bits"] > 5
    assert [each["alarm"] for each in lines] == [False, False, True, False, False]
    assert lines[-1]["evidence_bits"] < 2

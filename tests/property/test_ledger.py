"""The ledger of a row against a list of eight places."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.enforcement import new_out
from stream.enforcement.decision import (
    DROP,
    ISSUE,
    ISSUED_TALLY,
    LEDGER_TALLY,
    RELEASE,
    RELEASED_TALLY,
    RENEW,
    RENEWED_TALLY,
    Cause,
)
from stream.enforcement.ledger import RELEASE_SHOWN_MS, find_subject, issue, purge, release
from stream.events import ACTIONS, SUBJECT_KINDS
from stream.profiles import EVENT, LEDGER
from stream.profiles.layout import HEAD, LEDGER_ENTRY
from stream.simulate.model.ledger import Entry, LedgerModel
from tests.models.logs import T0_MS, policy_of

LIMIT = {"measure": "requests", "at_most": 1, "per": "1s"}
DURATIONS = {"1s": 1_000, "10s": 10_000, "1h": 3_600_000}
KINDS = [
    ("observe", "workload"),
    ("throttle", "operation"),
    ("throttle", "task"),
    ("revoke", "task"),
    ("revoke", "token"),
    ("revoke", "workload"),
]
POLICY = policy_of(
    *(
        {
            "limit": LIMIT,
            "action": action,
            "on": on,
            "for": list(DURATIONS)[place % 3],
            "mode": mode,
            **({"rate": "1/s"} if action == "throttle" else {}),
        }
        for mode in ("shadow", "enforce")
        for place, (action, on) in enumerate(KINDS)
    )
)
TABLES = POLICY.bind(POLICY.layout)

acts = st.tuples(
    st.sampled_from([0, 0, 0, 1, 500, 999, 1_000, 9_000, 10_000, 11_000, 4_000_000]),
    st.sampled_from(["issue"] * 6 + ["purge", "release"]),
    st.integers(0, len(POLICY.rules) - 1),
    st.tuples(*[st.integers(0, 3)] * 3),
    st.integers(0, 2),
    st.sampled_from([0, 1, 1]),
)


class Ledger:
    """The ledger of one row, its head, and what was decided."""

    def __init__(self) -> None:
        self.entries: Any = np.zeros(LEDGER, LEDGER_ENTRY)
        self.head: Any = np.zeros(1, HEAD)[0]
        self.out = new_out()
        self.event: Any = np.zeros(1, EVENT)[0]

    def cause(
        self, clock_ms: int, place: int, named: tuple[int, int, int], force: int, context: int = 1
    ) -> Cause:
        """An event that names a task, a token and an operation, at its own offset."""
        event = self.event
        event["offset"], event["task"], event["token"], event["operation"] = place, *named
        self.out.used[0] = 0
        return Cause(place, 0, clock_ms, clock_ms, context, force)

    def shown(self) -> list[tuple[Any, ...] | None]:
        """The entries as the model has them."""
        names = {each.id: each.name for each in POLICY.rules}
        return [
            (
                names[int(each["rule"])],
                SUBJECT_KINDS[each["kind"]],
                int(each["subject"]) or "",
                ACTIONS[each["action"]],
                *each[["mode", "since_ms", "until_ms", "repeat"]].tolist(),
            )
            if each["rule"]
            else None
            for each in self.entries
        ]


def strength(mode: int, action: str, kind: str) -> tuple[int, bool, bool, int]:
    """What gives way to what."""
    return mode, action != "observe", kind == "workload", ACTIONS.index(action)


def as_tuple(entry: Entry | None) -> tuple[Any, ...] | None:
    """An entry of the model."""
    return tuple(vars(entry).values()) if entry else None


@given(st.lists(acts, max_size=60))
def test_the_ledger_is_that_of_the_model(drawn: list[Any]) -> None:
    """Found, renewed, put in a free, ended or weaker place, purged and released as defined.

    A task binds in its own context; in the workload's, 0, it is the workload.
    """
    ledger, model, clock_ms = Ledger(), LedgerModel(), T0_MS
    counts = dict.fromkeys(("issue", "renew", "", "release"), 0)
    for place, (gap, what, number, named, force, context) in enumerate(drawn):
        clock_ms += gap
        cause = ledger.cause(clock_ms, place, named, force, context)
        rule, row = POLICY.rules[number], TABLES.limits[number]
        subjects = dict(zip(("task", "token", "operation"), named, strict=True))
        subject = "" if (rule.spec.on, context) == ("task", 0) else subjects.get(rule.spec.on)
        subject = subject or ""
        kind = rule.spec.on if subject else "workload"
        mode, until_ms = min(rule.mode, force), clock_ms + rule.duration_ms
        entry = Entry(rule.name, kind, subject, rule.spec.action, mode, clock_ms, until_ms)
        found = int(find_subject(ledger.entries, row, ledger.event, cause))
        known = model.bound_by(entry)
        assert (ledger.shown()[found] if found >= 0 else None) == as_tuple(known)
        if what == "purge":
            assert purge(ledger.entries, ledger.head, clock_ms) == model.purge(clock_ms)
        elif what == "release" and known and known.until_ms > clock_ms:
            done = release(ledger.entries, found, cause, row, ledger.out)
            known.until_ms = clock_ms
            counts["release"] += 1
            decision = ledger.out.decisions[done]
            assert decision["what"] == RELEASE
            assert decision["until_ms"] == clock_ms + RELEASE_SHOWN_MS
        elif what == "issue":
            done = issue(ledger.entries, ledger.head, cause, row, ledger.event, ledger.out)
            came_to = model.put(entry)
            counts[came_to] += 1
            assert (done >= 0) == bool(came_to or model.says_dropped) == bool(ledger.out.used[0])
            if done >= 0:
                decision = ledger.out.decisions[done]
                assert decision["what"] == {"issue": ISSUE, "renew": RENEW, "": DROP}[came_to]
                fields = ["event", "ordinal", "until_ms", "mode", "repeat", "kind"]
                ends_ms = until_ms if came_to else clock_ms
                kind_index = SUBJECT_KINDS.index(entry.kind)
                expected = (place, 0, ends_ms, mode, entry.repeat, kind_index)
                assert decision[fields].tolist() == expected
                assert decision["rule_id"] == rule.id
                assert decision["subject"] == (entry.subject or 0)
        assert ledger.shown() == list(map(as_tuple, model.places))
        assert ledger.head["in_force"] == len(model.entries())
    tallies = ledger.out.tallies
    assert counts["issue"] == tallies[ISSUED_TALLY]
    assert counts["renew"] == tallies[RENEWED_TALLY]
    assert counts["release"] == tallies[RELEASED_TALLY]
    assert counts[""] == tallies[LEDGER_TALLY] == ledger.head["ledger_dropped"]


@given(st.lists(acts, min_size=9, max_size=60))
def test_nothing_strong_gives_way_to_something_weak(drawn: list[Any]) -> None:
    """While it lasts, an entry is only ever displaced by a stronger one.

    Stronger is by mode; what binds; the whole workload, as eight parts must not keep it out; rung.
    """
    ledger, clock_ms = Ledger(), T0_MS
    for place, (gap, _, number, named, force, context) in enumerate(drawn):
        clock_ms += gap % 11_000
        live = [each for each in ledger.shown() if each and each[6] > clock_ms]
        cause = ledger.cause(clock_ms, place, named, force, context)
        done = issue(
            ledger.entries, ledger.head, cause, TABLES.limits[number], ledger.event, ledger.out
        )
        after = [each for each in ledger.shown() if each]
        gone = [each for each in live if each[:3] not in [other[:3] for other in after]]
        assert len(gone) <= (done >= 0)
        for each in gone:
            decision = ledger.out.decisions[done]
            comes = ACTIONS[decision["action"]], SUBJECT_KINDS[decision["kind"]]
            assert strength(each[4], each[3], each[1]) < strength(decision["mode"], *comes)


@given(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=20))
def test_decisions_of_one_event_are_numbered(events: list[int]) -> None:
    """The ordinal counts the decisions of an event from nought, so versions never repeat."""
    ledger = Ledger()
    versions = []
    for place, rules in enumerate(events):
        cause = ledger.cause(T0_MS, place, (0, 0, 0), 2)
        for number in range(rules):
            done = issue(
                ledger.entries, ledger.head, cause, TABLES.limits[number], ledger.event, ledger.out
            )
            versions.append((place, int(ledger.out.decisions[done]["ordinal"])))
        entry = ledger.entries[0]
        assert (entry["offset"], entry["ordinal"]) in versions
    assert versions == [(p, each) for p, rules in enumerate(events) for each in range(rules)]

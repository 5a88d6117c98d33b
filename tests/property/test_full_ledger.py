"""Rows with more commands than places: what gives way, and what is bound instead, by the model."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.policy import Policy
from stream.simulate.model import Enforcer, Line, without_texts
from tests.models.driver import Driver
from tests.models.logs import (
    MANY_TASKS,
    MIXED,
    T0_MS,
    Digits,
    Log,
    change_of,
    policy_of,
    request_of,
    rule_of,
)
from tests.property.test_engine import blank, carried

AGENTS = ("spiffe://td/agents/a", "spiffe://td/agents/b")
seeds = st.integers(0, 1 << 30)


def filling_policy(chance: random.Random) -> Policy:
    """Up to a dozen rules that nearly every call breaks, most of them for hours."""
    digits, rules = Digits(chance.randbytes(400)), []
    for _ in range(chance.randint(3, 12)):
        rule: dict[str, Any] = rule_of(digits) | {"classes": []}
        rule |= {"for": chance.choice(["10s", "2h", "2h"])}
        rule |= {"mode": chance.choice(["enforce", "enforce", "shadow"])}
        if "limit" in rule:
            rule["limit"] = {"measure": "requests", "at_most": chance.choice([0, 1]), "per": "10s"}
        rules.append(rule)
    return policy_of(*rules, tasks=chance.choice(["vouched", "granted"]))


def filled(seed: int) -> Log:
    """Two agents with ten tasks under such a policy; an operator stops enforcing for a while."""
    chance = random.Random(seed)
    policy, lines, append_ms = filling_policy(chance), [], T0_MS
    for offset in range(chance.randint(10, 150)):
        append_ms += chance.choice(MIXED)
        fields = request_of(chance.randbytes(6), MANY_TASKS) | {"workload": chance.choice(AGENTS)}
        value = msgspec.json.encode({"at_ms": append_ms, **fields})
        lines.append(Line(0, offset, append_ms, value))
    until_ms = chance.choice([0, 0, T0_MS + 5_000])
    return Log(1, tuple(lines), (change_of(policy, stopped_until_ms=until_ms),))


@given(seeds)
def test_full_ledgers_are_those_of_the_model(seed: int) -> None:
    """Findings, bodies, versions, records and tallies, and how long each entry lasts."""
    log = filled(seed)
    driver, model = Driver(log).run(log.lines), Enforcer(log.changes)
    outcomes = [each for line in log.lines for each in model.apply(line)]
    for name, row in model.rows.items():
        mine = [each for each in outcomes if each.finding.workload == name]
        findings = [each for each in driver.findings if each.workload == name]
        assert list(map(blank, findings)) == [each.finding for each in mine]
        outgoing = [each for each in driver.outgoing if each.command.body.subject.workload == name]
        commands = [without_texts(each.command) for each in outgoing]
        assert commands == [each.command for each in mine if each.command]
        assert list(map(carried, outgoing)) == [each.record for each in mine if each.command]
        slot = driver.state.table.names.index(name)
        entries = driver.state.table.sections.ledger[slot]
        lasts = [each.until_ms if each else 0 for each in row.ledger.places]
        assert entries["until_ms"].tolist() == lasts
    for tally in ("issued", "renewed", "released", "ledger_dropped"):
        assert driver.tallies[tally] == model.tallies[tally]


@given(seeds, st.sets(st.integers(1, 150)))
def test_full_ledgers_do_not_know_batches(seed: int, cuts: set[int]) -> None:
    """However a log is cut, records, findings and rows are the same bytes."""
    log = filled(seed)
    whole, cut = Driver(log).run(log.lines), Driver(log).run(log.lines, cuts)
    assert (cut.rows(), cut.of(0), cut.tallies) == (whole.rows(), whole.of(0), whole.tallies)


def test_most_of_these_ledgers_are_full() -> None:
    """Most logs bind a workload for want of places, so that the laws above say something."""
    texts = [
        " ".join(each.text for each in Driver(log).run(log.lines).findings)
        for log in map(filled, range(40))
    ]
    for said in ("it may have no more commands", "none there is weaker", "is bound already"):
        assert sum(said in each for each in texts) > 10, said

"""The whole step against a slow model of it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.enforcement import Outgoing
from stream.events import Finding, decode_value
from tests.models.driver import Driver
from tests.models.enforcer import Enforcer, Held, without_texts
from tests.models.logs import Log, logs

UNCHECKED = {"transitions_dropped"}


def blank(finding: Finding) -> Finding:
    """A finding without its sentence."""
    return msgspec.structs.replace(finding, text="")


def carried(outgoing: Outgoing) -> tuple[Held, ...]:
    """All that a record carries."""
    return tuple(without_texts(command) for command in decode_value(outgoing.value).commands)


@given(st.one_of(logs(), logs(partitions=3)))
def test_findings_and_commands_are_those_of_the_model(log: Log) -> None:
    """Each event gives the findings, bodies, versions, records and tallies of the definition."""
    driver = Driver(log).run(log.lines)
    model = Enforcer(log.changes)
    outcomes = [each for line in log.lines for each in model.apply(line)]
    for name in {each.workload for each in driver.findings} | model.rows.keys():
        mine = [each for each in outcomes if each.finding.workload == name]
        findings = [each for each in driver.findings if each.workload == name]
        outgoing = [each for each in driver.outgoing if each.command.body.subject.workload == name]
        assert list(map(blank, findings)) == [each.finding for each in mine]
        commands = [without_texts(each.command) for each in outgoing]
        assert commands == [each.command for each in mine if each.command]
        assert list(map(carried, outgoing)) == [each.record for each in mine if each.command]
    tallies = {key: count for key, count in driver.tallies.items() if count}
    expected = {key: count for key, count in model.tallies.items() if count}
    assert tallies | dict.fromkeys(UNCHECKED, 0) == expected | dict.fromkeys(UNCHECKED, 0)

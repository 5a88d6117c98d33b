"""What is journalled: policies that come and go, rows that are forgotten, logs that changed."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream.policy import Policy
from tests.models.driver import Driver
from tests.models.logs import DAY, T0_MS, Log, change_of, logs, moved, policies

cuts = st.sets(st.integers(1, 120))


@given(logs(), st.lists(policies, min_size=2, max_size=3), st.data())
def test_a_policy_may_come_back(log: Log, known: list[Policy], data: st.DataObject) -> None:
    """Policies that change and return at any offset give the same, whatever was in memory then."""
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
    for start, end in pairwise(edges):
        leaving.run(log.lines[start:end])
        leaving.evict()
    assert leaving.of(0)[:2] == whole.of(0)[:2]
    assert leaving.rows() == whole.rows()


@given(logs(), logs(), policies)
def test_an_idle_row_begins_anew(before: Log, after: Log, policy: Policy) -> None:
    """After longer than `idle` a row is, byte for byte, that of a workload never seen before."""
    length, late = len(before.lines), moved(after, 1_000 * DAY)
    lines = [
        each._replace(offset=length + place, append_ms=each.append_ms)
        for place, each in enumerate(late.lines)
    ]
    log = Log(1, (*before.lines, *lines), (change_of(policy),))
    whole, fresh = Driver(log).run(log.lines), Driver(log).run(lines)
    assert whole.rows() | fresh.rows() == whole.rows()
    assert [each for each in whole.outgoing if each.offset >= length] == fresh.outgoing


@given(logs(), st.data())
def test_a_forgotten_row_is_a_deleted_one(log: Log, data: st.DataObject) -> None:
    """Deleted, or kept in memory where nobody swept: what follows for its workload is the same."""
    offset = data.draw(st.integers(1, len(log.lines)))
    last_ms = log.lines[offset - 1].append_ms
    before_ms = data.draw(st.sampled_from([T0_MS, T0_MS + 5_000, last_ms - 1_000, last_ms + 1]))
    policy = log.changes[0].policy
    change = change_of(policy, from_offset=offset, forgotten_before_ms=before_ms)
    log = log._replace(changes=(change_of(policy), change))
    kept, swept = Driver(log).run(log.lines), Driver(log).run(log.lines[:offset])
    swept.save()
    table = swept.state.table
    for slot in table.used_slots().tolist():
        if table.sections.head[slot]["clock_ms"] < before_ms:
            del swept.store[table.names[slot]]
            swept.state.evict(slot)
    swept.run(log.lines[offset:])
    assert swept.outgoing == kept.outgoing
    assert swept.findings == kept.findings
    assert swept.rows().items() <= kept.rows().items()


@given(logs(), logs())
def test_a_log_that_changed_begins_an_era(before: Log, after: Log) -> None:
    """In a new era offsets begin again and count, rows go on, and versions still rise."""
    policy, length = before.changes[0].policy, len(before.lines)
    later = [each._replace(append_ms=each.append_ms + 10) for each in after.lines]
    lines = [each._replace(offset=length + each.offset) for each in later]
    log = Log(1, (*before.lines, *lines), (change_of(policy),))
    whole = Driver(log).run(log.lines)
    changed = Driver(log).run(before.lines)
    changed.state.adopt(0, change_of(policy, era=1, log_era=1).conditions, policy)
    changed.run(later)
    assert [each.command.body for each in changed.outgoing] == [
        each.command.body for each in whole.outgoing
    ]
    assert changed.tallies == whole.tallies
    versions = [each.command.version for each in changed.outgoing]
    assert versions == sorted(set(versions))
    eras = [int(each.offset >= length) for each in whole.outgoing]
    assert [each.era for each in versions] == eras


@given(logs(), st.integers(0, 120))
def test_an_era_of_the_same_log_counts_nothing_twice(log: Log, again_from: int) -> None:
    """Read again from anywhere, in an era that the same log goes on in, it changes no row."""
    last, policy = log.changes[-1].conditions, log.changes[-1].policy
    driver = Driver(log).run(log.lines)
    rows, duplicates = driver.rows(), driver.tallies["duplicates"]
    # A tick finds whom it was not told of before, where less is forgotten than was then.
    again = [
        each
        for each in log.lines[again_from:]
        if each.request.authenticated
        and (each.request.kind != "tick" or each.offset >= last.from_offset)
    ]
    anew = change_of(policy, era=1, forgotten_before_ms=last.forgotten_before_ms)
    driver.state.adopt(0, anew.conditions, policy)
    driver.run(again)
    assert driver.rows() == rows
    # A tick of whom nobody knew, or knows any more, left nothing to know it by.
    ticks = sum(each.request.kind == "tick" for each in again)
    found = driver.tallies["duplicates"] - duplicates
    assert len(again) - ticks <= found <= len(again)


@given(logs())
def test_a_fresh_era_counts_everything_once_more(log: Log) -> None:
    """In a fresh era the rows of earlier ones are gone, and the log gives what it gave."""
    policy = log.changes[0].policy
    log = log._replace(changes=log.changes[:1])
    first, again = Driver(log).run(log.lines), Driver(log).run(log.lines)
    before = len(again.outgoing)
    again.state.adopt(0, change_of(policy, era=1, fresh_era=1).conditions, policy)
    again.run(log.lines)
    bodies = [each.command.body for each in again.outgoing[before:]]
    assert bodies == [each.command.body for each in first.outgoing]

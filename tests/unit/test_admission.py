"""A full trust domain: nobody new is admitted, whoever has a row goes on, whatever is in memory."""

from __future__ import annotations

import random

import pytest

from stream.enforcement import domains_of
from stream.events import Full, RejectCode, Request, encode_request
from stream.identity import trust_domain
from stream.simulate.model import Enforcer
from tests.models.driver import KEY, Driver
from tests.models.logs import HOUR, T0_MS, Change, Line, Log, change_of, policy_of

LIMIT = {"measure": "requests", "at_most": 2, "per": "1h"}
RULE = {"limit": LIMIT, "action": "revoke", "for": "1h", "mode": "enforce"}
POLICY = policy_of(RULE)


def name_of(number: int, domain: str = "td") -> str:
    """A workload of a trust domain."""
    return f"spiffe://{domain}/w{number}"


def line(offset: int, name: str, at_ms: int = 0, **fields: object) -> Line:
    """A request of a workload."""
    value = encode_request(Request(T0_MS + at_ms, name, "tool:x", **fields))
    return Line(0, offset, T0_MS + at_ms, value)


def hashes(*domains: str) -> tuple[str, ...]:
    """Trust domains as the journal names them."""
    return tuple(f"{KEY.hash(each):016x}" for each in domains)


def full_at(offset: int, full: Full, **fields: object) -> Change:
    """Conditions under which trust domains are full."""
    return change_of(POLICY, from_offset=offset, full=full, **fields)


def driven(lines: list[Line], *changes: Change, cuts: tuple[int, ...] = ()) -> Driver:
    """A process that has applied a log."""
    log = Log(1, tuple(lines), (change_of(POLICY), *changes))
    return Driver(log).run(log.lines, cuts)


def refused(driver: Driver) -> list[int]:
    """The offsets of events that were refused because a trust domain is full."""
    assert all(code is RejectCode.DOMAIN_FULL for _, _, code in driver.refused)
    return [offset for _, offset, _ in driver.refused]


def test_who_has_a_row_goes_on_and_nobody_else_comes() -> None:
    """From the very offset on; another trust domain has new workloads as before."""
    names = [name_of(0), name_of(1), name_of(0), name_of(2), name_of(0), name_of(3, "other")]
    lines = [line(at, name) for at, name in enumerate([*names, name_of(2)])]
    driver = driven(lines, full_at(2, Full(hashes("td"))))
    assert refused(driver) == [3, 6]
    assert set(driver.rows()) == {name_of(0), name_of(1), name_of(3, "other")}
    assert [each.workload for each in driver.findings] == [name_of(0)]


def test_only_known_trust_domains_have_new_workloads_where_there_are_too_many() -> None:
    """Of those that are known and not full."""
    lines = [line(0, name_of(0)), line(1, name_of(1)), line(2, name_of(0, "b"))]
    lines += [line(3, name_of(0, "c"))]
    driver = driven(lines, full_at(1, Full((), hashes("td"))))
    assert refused(driver) == [2, 3]
    both = driven(lines, full_at(1, Full(hashes("td"), hashes("td", "b"))))
    assert refused(both) == [1, 3]


def test_they_come_again_once_there_is_room() -> None:
    """From the offset on that says so."""
    lines = [line(at, name_of(1)) for at in range(6)]
    driver = driven(lines, full_at(0, Full(hashes("td"))), change_of(POLICY, from_offset=4))
    assert refused(driver) == [0, 1, 2, 3]
    assert driver.tallies["requests"] == 2


def test_a_row_that_is_gone_is_none_whether_it_is_still_there_or_not() -> None:
    """In memory, in the store or deleted: its next event is refused alike."""
    lines = [line(0, name_of(0)), line(1, name_of(1), 2 * HOUR), line(2, name_of(0), 2 * HOUR)]
    lines += [line(3, name_of(1), 2 * HOUR), line(4, name_of(0), 2 * HOUR)]
    change = full_at(2, Full(hashes("td")), forgotten_before_ms=T0_MS + HOUR)
    log = Log(1, tuple(lines), (change_of(POLICY), change))
    in_memory = Driver(log).run(log.lines)
    stored, deleted = Driver(log), Driver(log)
    for driver in (stored, deleted):
        driver.run(log.lines[:2])
        driver.evict()
    del deleted.store[name_of(0)]
    for driver in (stored, deleted):
        driver.run(log.lines[2:])
    assert refused(in_memory) == refused(stored) == refused(deleted) == [2, 4]
    assert in_memory.tallies["restarted"] == 0


def test_what_a_row_has_applied_is_not_refused_when_it_comes_again() -> None:
    """A new owner that reads an event again finds it in the row, gone or not."""
    lines = [line(0, name_of(0)), line(1, name_of(0), 1)]
    before = Driver(Log(1, tuple(lines), (change_of(POLICY),))).run(lines)
    before.evict()
    change = full_at(0, Full(hashes("td")), forgotten_before_ms=T0_MS + HOUR)
    again = Driver(Log(1, tuple(lines), (change,)), store=before.store).run(lines)
    assert again.refused == []
    assert again.tallies["duplicates"] == 2


def test_a_failed_authentication_is_not_refused() -> None:
    """It never counts, so it needs no row."""
    lines = [line(0, name_of(1), authenticated=False)]
    driver = driven(lines, full_at(0, Full(hashes("td"))))
    assert driver.refused == []
    assert driver.tallies["unauthenticated"] == 1


def story(seed: int) -> Log:
    """A log with trust domains that come to be full and have room, with rows that are forgotten."""
    chance = random.Random(seed)
    domains = ("td", "b", "c")
    lines, at_ms = [], 0
    for offset in range(120):
        at_ms += chance.choice((0, 1, 1_000, HOUR // 2))
        name = name_of(chance.randrange(9), chance.choice(domains))
        lines.append(line(offset, name, max(0, at_ms - chance.choice((0, 0, 3 * HOUR)))))
    changes = [change_of(POLICY)]
    for offset in sorted(chance.sample(range(120), 6)):
        some = hashes(*chance.sample(domains, chance.randrange(3)))
        known = chance.choice((None, None, hashes("td"), hashes("td", "b")))
        gone_ms = T0_MS + chance.choice((0, 0, 5 * HOUR, 15 * HOUR))
        fields = {"forgotten_before_ms": gone_ms} if gone_ms > T0_MS else {}
        given = {"full": Full(some, known)} if some or known else {}
        changes.append(change_of(POLICY, from_offset=offset, **fields, **given))
    return Log(1, tuple(lines), tuple(changes))


@pytest.mark.parametrize("seed", range(12))
def test_cuts_evictions_and_crashes_change_nothing(seed: int) -> None:
    """The model says the same as one batch, as many small ones, and as a process that dies."""
    chance, log = random.Random(seed), story(seed)
    model = Enforcer(log.changes, KEY.hash)
    for each in log.lines:
        model.apply(each)
    whole = Driver(log).run(log.lines)
    cut = Driver(log, slots_max=8).run(log.lines, chance.sample(range(120), 30))
    assert refused(whole) == refused(cut) == model.refused
    assert whole.records() == cut.records()
    died_at, begins = 80, chance.randrange(40, 80)
    dead = Driver(log, slots_max=8).run(log.lines[:begins])
    dead.save()
    store = dict(dead.store)
    dead.run(log.lines[begins:died_at])
    slots = dead.state.table.used_slots().tolist()
    dead.save([slot for slot in slots if chance.random() < 0.5])
    store |= {name: row for name, row in dead.store.items() if chance.random() < 0.7}
    heir = Driver(log, store=store, starts={0: begins}).run(log.lines[begins:])
    mine = {each for each in model.refused if each >= begins}
    # What the row of a workload says that has come since, the dead one has refused before.
    assert set(refused(heir)) <= mine
    assert mine - set(refused(heir)) <= set(refused(dead))
    assert heir.rows() == whole.rows()


def test_hashes_of_trust_domains_are_those_of_each() -> None:
    """Many at once, some more than once, none at all."""
    names = [name_of(1), name_of(2, "b"), name_of(3)]
    assert domains_of(KEY, names) == [KEY.hash(trust_domain(each)) for each in names]
    assert domains_of(KEY, []) == []

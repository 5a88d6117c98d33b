"""What a gateway says while it does not know, and how it finds out that it does not."""

import pytest

from stream.events import Subject, TokenRef
from stream.gateway.holdings import OPERATORS_MAX
from tests.models.owner import (
    AGENT,
    NOW_MS,
    OTHER,
    Owner,
    act,
    command,
    operator_record,
    revoked,
    subject_record,
)
from tests.unit.gateway.shelf import Shelf

TOKEN = TokenRef("https://issuer.example.org", "7f3a")


@pytest.mark.parametrize("settings", [{"records_max": 2}, {"bytes_max": 1_500}])
def test_memory_is_bounded_and_overflow_is_named(settings: dict[str, int]) -> None:
    """Beyond its bounds the table refuses new subjects and says that it lacks some."""
    shelf = Shelf(**settings)
    shelf.table.finish_loading()
    owner = Owner()
    outcomes = []
    for each in range(4):
        subject = Subject(workload=f"{AGENT}/{each}")
        outcomes.append(shelf.put(owner.put(subject, command(subject))))
    assert outcomes == ["applied", "applied", "overflow", "overflow"]
    shelf.put(owner.heartbeat())
    assert shelf.table.state(NOW_MS) == "overflow"
    assert shelf.decision(f"{AGENT}/0") == "deny"
    for key in list(owner.published)[1:]:
        shelf.put(owner.drop(key))
    shelf.put(owner.heartbeat())
    assert shelf.table.state(NOW_MS) == "ready"


def test_a_zombie_is_not_believed_once_its_heir_was_met() -> None:
    """What an earlier owner writes behind its heir's heartbeat is refused and counted."""
    shelf = Shelf()
    shelf.table.finish_loading()
    earlier, heir, subject = Owner(epoch=3), Owner(epoch=4), Subject(workload=AGENT)
    first = earlier.put(Subject(workload=OTHER), command(Subject(workload=OTHER)))
    assert shelf.put(first) == "applied"
    heir.published, heir.version = dict(earlier.published), earlier.version
    assert shelf.put(heir.heartbeat(complete=False)) == "heartbeat"
    assert shelf.put(earlier.put(subject, command(subject, offset=9))) == "older"
    assert shelf.put(earlier.heartbeat()) == "older"
    assert shelf.decision() == "allow"
    assert shelf.decision(OTHER) == "deny"
    shelf.put(heir.heartbeat())
    assert shelf.table.state(NOW_MS) == "ready"
    assert shelf.table.counts["older"] == 2


def test_what_a_zombie_named_is_no_bound_for_its_heir() -> None:
    """The heir's first proof counts though a zombie proved a higher version before it."""
    shelf = Shelf()
    shelf.table.finish_loading()
    zombie, heir, subject = Owner(epoch=3), Owner(epoch=4), Subject(workload=AGENT)
    key, _ = zombie.put(subject, command(subject, offset=9))
    shelf.put((key, zombie.published[key]))
    shelf.put(zombie.heartbeat())
    assert shelf.decision() == "deny"
    shelf.put(heir.drop(key))
    assert shelf.put(heir.heartbeat()) == "heartbeat"
    assert shelf.table.state(NOW_MS) == "ready"
    assert shelf.decision() == "allow"


def test_the_same_cause_counts_as_its_heir_published_it() -> None:
    """A record that a zombie and its heir both publish is the heir's, in whichever order."""
    subject = Subject(workload=AGENT)
    for order in ((3, 4), (4, 3)):
        shelf = Shelf()
        shelf.table.finish_loading()
        for epoch in order:
            shelf.put(Owner(epoch=epoch).put(subject, command(subject)))
        heir = Owner(epoch=4)
        heir.put(subject, command(subject))
        shelf.put(heir.heartbeat())
        assert shelf.table.state(NOW_MS) == "ready"


def test_an_owner_that_names_no_epoch_is_believed() -> None:
    """Records of a version that knew no epochs still count."""
    shelf = Shelf()
    assert shelf.put(Owner(epoch=4).heartbeat()) == "heartbeat"
    assert shelf.put(revoked()) == "applied"
    assert shelf.decision() == "deny"


def test_overflow_is_known_at_once() -> None:
    """A ready gateway that has no room for a record says so before the next heartbeat."""
    shelf = Shelf(records_max=1, mode="closed")
    shelf.table.finish_loading()
    owner, subject = Owner(), Subject(workload=AGENT)
    shelf.put(owner.put(subject, command(subject)))
    shelf.put(owner.heartbeat())
    assert shelf.decision(OTHER) == "allow"
    assert shelf.put(revoked(OTHER)) == "overflow"
    assert shelf.table.check(NOW_MS, OTHER, "GET /x").action == "overflow"


def test_a_full_table_still_takes_renewals_and_a_stop() -> None:
    """Overflow keeps out new subjects, not news of those held, and never an operator."""
    shelf = Shelf(records_max=1)
    shelf.put(revoked())
    assert shelf.put(revoked(OTHER)) == "overflow"
    assert shelf.put(revoked(offset=2, text="again")) == "applied"
    assert shelf.put(operator_record("", act("stop"))) == "applied"
    assert shelf.put(operator_record(OTHER, act("exempt"))) == "applied"


def test_overflow_of_what_no_heartbeat_counts_stays() -> None:
    """Nobody says how many records of other issuers there are, so one lost is lost."""
    shelf = Shelf(records_max=1)
    shelf.table.finish_loading()
    shelf.put(revoked())
    subject = Subject(workload="", token=TOKEN)
    pair = subject_record(subject, command(subject), issuer="subjects")
    assert shelf.put(pair) == "overflow"
    assert shelf.table.state(NOW_MS) == "overflow"


@pytest.mark.parametrize(("mode", "decision"), [("open", "allow"), ("closed", "deny")])
def test_mode_speaks_while_nothing_is_known(mode: str, decision: str) -> None:
    """Until the table is ready the mode decides, by name of the state, and not the commands."""
    shelf = Shelf(mode=mode)
    owner, subject = Owner(), Subject(workload=AGENT)
    shelf.put(owner.put(subject, command(subject)))
    for state, step in (
        ("loading", shelf.table.finish_loading),
        ("stale", lambda: shelf.put(owner.heartbeat(records=5))),
        ("mismatch", lambda: shelf.put(owner.heartbeat())),
    ):
        for workload in (AGENT, OTHER):
            verdict = shelf.table.check(NOW_MS, workload, "GET /x")
            assert (verdict.decision, verdict.action) == (decision, state)
            assert state in verdict.reason
        step()
    assert (shelf.decision(AGENT), shelf.decision(OTHER)) == ("deny", "allow")
    late_ms = NOW_MS + 60_000
    assert shelf.decision(OTHER, now_ms=late_ms) == decision
    assert shelf.table.check(late_ms, OTHER, "GET /x").status == (503 if mode == "closed" else 200)


def test_mode_last_uses_the_table_as_it_is() -> None:
    """`last` goes by what was known last, whatever its age."""
    shelf = Shelf(mode="last")
    shelf.put(revoked())
    assert shelf.table.state(NOW_MS) == "loading"
    assert (shelf.decision(AGENT), shelf.decision(OTHER)) == ("deny", "allow")


def test_an_operator_outranks_a_closed_gateway() -> None:
    """A stop or an exemption works while no worker runs and the gateway denies everybody."""
    shelf = Shelf(mode="closed")
    shelf.table.finish_loading()
    shelf.put(operator_record(AGENT, act("exempt")))
    assert (shelf.decision(AGENT), shelf.decision(OTHER)) == ("allow", "deny")
    shelf.put(operator_record("", act("stop")))
    assert shelf.decision(OTHER) == "allow"


def test_an_erased_revoke_is_noticed(shelf: Shelf) -> None:
    """A forged tombstone frees its subject, and the next heartbeat says that something is gone."""
    owner, subject = Owner(), Subject(workload=AGENT)
    pair = owner.put(subject, command(subject))
    shelf.put(pair)
    shelf.put(owner.heartbeat())
    assert shelf.table.state(NOW_MS) == "ready"
    shelf.put((pair[0], None))
    shelf.put(owner.heartbeat())
    assert shelf.table.state(NOW_MS) == "mismatch"


def test_a_stop_finds_room_when_nothing_else_does() -> None:
    """However many workloads operators have exempted, a stop is still taken."""
    shelf = Shelf()
    for each in range(OPERATORS_MAX):
        assert shelf.put(operator_record(f"{AGENT}/{each}", act("exempt"))) == "applied"
    assert shelf.put(operator_record(OTHER, act("exempt"))) == "overflow"
    assert shelf.put(operator_record("", act("stop"))) == "applied"

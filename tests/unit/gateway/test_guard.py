"""With keys: what an attacker who can write to the topic and has no key can do, one by one."""

import asyncio
import logging

import msgspec
import pytest

from stream.events import (
    Heartbeat,
    OperatorRecord,
    Rate,
    Subject,
    Version,
    decode_value,
    encode,
    operator_key,
)
from stream.gateway import CommandTable, TableSpec
from stream.gateway.follower import Follower
from stream.gateway.guard import LIFT_REACH_MS
from tests.models.owner import (
    AGENT,
    NOW_MS,
    OTHER,
    Owner,
    Pair,
    Topic,
    act,
    command,
    operator_record,
    revoked,
    subject_record,
    throttled,
)
from tests.signed import PLACE, key, signed, signer, trust
from tests.unit.gateway.doors import Site, beat, opened

SUBJECT = Subject(workload=AGENT)
SPEC = msgspec.convert({"kind": "table", "mode": "closed"}, TableSpec)
TOMBSTONE_MS = SPEC.tombstone_after_ms


class Desk:
    """A table with keys, and what is written to its topic."""

    def __init__(self, algorithm: str = "ed25519", *, is_strict: bool = True) -> None:
        self.topic = Topic()
        self.owner = Owner()
        self.table = CommandTable(SPEC, 1, trust(algorithm, is_strict=is_strict))
        self.table.finish_loading()

    def put(self, pair: Pair, append_ms: int = NOW_MS) -> str:
        return self.table.apply(self.topic.record(pair, 0, append_ms))

    def beat(self, at_ms: int = NOW_MS, **changes: object) -> str:
        return self.put(signed(self.owner.heartbeat(at_ms, **changes)), at_ms)

    def decision(self, now_ms: int = NOW_MS, workload: str = AGENT) -> str:
        return self.table.check(now_ms, workload, "GET /x").decision

    def state(self, now_ms: int = NOW_MS) -> str:
        return self.table.state(now_ms)


def acts(workload: str, *said: object, at_ms: int = NOW_MS, until_ms: int = 0) -> Pair:
    """A signed record of operators' acts."""
    record = OperatorRecord(workload=workload, acts=said, at_ms=at_ms, until_ms=until_ms)
    return signed((operator_key(workload), encode(record)), "operator")


def test_signed_commands_are_obeyed_and_accounted_for() -> None:
    """A worker's record and heartbeat, an operator's act: taken; the digest needs no signature."""
    desk = Desk()
    assert desk.put(signed(desk.owner.put(SUBJECT, command(SUBJECT)))) == "applied"
    assert desk.beat() == "heartbeat"
    assert (desk.state(), desk.decision()) == ("ready", "deny")
    assert desk.put(acts("", act("stop"))) == "applied"
    assert desk.decision() == "allow"
    assert desk.table.signed_by == {"worker-ed25519": 1, "operator-ed25519": 1}


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (revoked(), "unsigned"),
        (throttled(OTHER, rate=Rate(0, 1_000)), "unsigned"),
        (Owner().heartbeat(), "unsigned"),
        (operator_record("", act("stop")), "unsigned"),
        (operator_record(AGENT, act("exempt")), "unsigned"),
        (signed(revoked(), "operator"), "wrong_role"),
        (signed(Owner().heartbeat(), "operator"), "wrong_role"),
        (signed(operator_record("", act("stop")), "worker"), "wrong_role"),
        ((revoked()[0], signer(kid="stranger").sign(*revoked())), "unknown_key"),
        ((revoked()[0], signer(place=("x", PLACE[1])).sign(*revoked())), "forged"),
        ((revoked()[0], signer(place=(PLACE[0], "x")).sign(*revoked())), "forged"),
        ((revoked(OTHER)[0], signer().sign(revoked()[0], revoked(OTHER)[1])), "forged"),
    ],
)
def test_what_nobody_signed_is_refused(pair: Pair, why: str) -> None:
    """By its name, counted, and nothing changes."""
    desk = Desk()
    assert desk.put(pair) == why
    assert desk.table.counts[why] == 1
    assert (len(desk.table), desk.table.bytes_held) == (0, 0)
    assert desk.table.homes(NOW_MS) == ()
    desk.beat()
    assert desk.decision() == "allow"


def test_an_altered_record_is_refused() -> None:
    """Another action, subject, expiry, version under the old signature is forged."""
    desk = Desk()
    name, value = signed(revoked())
    assert value is not None
    changes = [
        (b'"action":"revoke"', b'"action":"observe"'),
        (b'"mode":"enforce"', b'"mode":"shadow"'),
        (b'"offset":1', b'"offset":9'),
        (str(NOW_MS + 300_000).encode(), str(NOW_MS + 300).encode()),
    ]
    for old, new in changes:
        assert old in value
        assert desk.put((name, value.replace(old, new))) == "forged"
    assert desk.put((name, value)) == "applied"


def test_older_versions_are_refused() -> None:
    """The revocation from before a release changes nothing, and is counted."""
    desk = Desk()
    old = signed(desk.owner.put(SUBJECT, command(SUBJECT)))
    desk.put(old)
    desk.put(signed(desk.owner.put(SUBJECT, command(SUBJECT, "release", offset=5))))
    desk.beat()
    assert desk.put(old) == "older"
    assert (desk.state(), desk.decision()) == ("ready", "allow")


def test_a_record_that_was_ended_does_not_come_back() -> None:
    """After a release has been tombstoned, the revocation before it is still signed and good."""
    desk = Desk()
    revocation = command(SUBJECT, expires_at_ms=NOW_MS + 3_600_000)
    old = signed(desk.owner.put(SUBJECT, revocation))
    desk.put(old)
    release = signed(desk.owner.put(SUBJECT, command(SUBJECT, "release", offset=5)))
    desk.put(release)
    desk.beat()
    over_ms = NOW_MS + 300_000 + TOMBSTONE_MS
    assert desk.put(desk.owner.drop(release[0]), over_ms) == "removed"
    desk.beat(over_ms)
    assert desk.put(old, over_ms) == "replayed"
    assert desk.put(release, over_ms) == "expired"
    assert (desk.state(over_ms), desk.decision(over_ms)) == ("ready", "allow")


def test_a_new_gateway_notices_a_record_that_was_ended() -> None:
    """It cannot tell from the log alone, but the heartbeat says that there is one too many."""
    desk = Desk()
    revocation = command(SUBJECT, expires_at_ms=NOW_MS + 3_600_000)
    old = signed(desk.owner.put(SUBJECT, revocation))
    desk.owner.drop(old[0])
    assert desk.put(old) == "applied"
    desk.beat()
    assert (desk.state(), desk.decision()) == ("mismatch", "deny")
    assert desk.table.check(NOW_MS, OTHER, "GET /x").status == 503
    # When it is over, and nobody tombstones it, the table drops it, and agrees again.
    over_ms = NOW_MS + 3_600_000 + TOMBSTONE_MS + 60_000
    desk.beat(over_ms)
    assert (desk.state(over_ms), len(desk.table)) == ("ready", 0)


def test_what_expired_long_ago_is_not_held() -> None:
    """A record that workers have tombstoned would make the table disagree for ever."""
    desk = Desk()
    old = signed(revoked())
    assert desk.put(old, NOW_MS + 300_000 + TOMBSTONE_MS) == "expired"
    late = signed(revoked(OTHER))
    assert desk.put(late, NOW_MS + 300_000 + TOMBSTONE_MS - 1) == "applied"


def test_a_late_release_still_ends_what_is_held() -> None:
    """A worker that catches up publishes what is over already; what is newer is taken."""
    desk = Desk()
    desk.put(signed(revoked(expires_at_ms=NOW_MS + 3_600_000)))
    release = subject_record(SUBJECT, command(SUBJECT, "release", offset=5))
    assert desk.put(signed(release), NOW_MS + 900_000) == "applied"
    assert list(desk.table.in_force(NOW_MS + 900_000)) == []


def test_tombstones_need_an_explanation() -> None:
    """Before a record expires it is not ended by one; after that it is; of nothing it is none."""
    desk = Desk()
    name, value = desk.owner.put(SUBJECT, command(SUBJECT))
    desk.put(signed((name, value)))
    desk.beat()
    assert desk.put((name, None)) == "unexplained"
    tombstone_ms = NOW_MS + 300_000 + TOMBSTONE_MS
    assert desk.put((name, None), tombstone_ms - 1) == "unexplained"
    assert (desk.state(), desk.decision()) == ("ready", "deny")
    assert desk.put((name, None), tombstone_ms) == "removed"
    assert desk.put((name, None)) == "unchanged"


def test_a_worker_whose_clock_is_ahead_is_followed() -> None:
    """Its tombstones come too early by the broker's clock; its heartbeat then explains them."""
    desk = Desk("hmac")
    for place in range(3_000):
        subject = Subject(workload=f"{AGENT}{place % 3}")
        desk.put(signed(desk.owner.put(subject, command(subject, offset=place)), algorithm="hmac"))
    ahead_ms = NOW_MS + 300_000 + TOMBSTONE_MS + 5_000
    for name in list(desk.owner.published):
        assert desk.put(desk.owner.drop(name), ahead_ms - 10_000) == "unexplained"
    assert len(desk.table) == 3
    beat = signed(desk.owner.heartbeat(ahead_ms), algorithm="hmac")
    assert desk.put(beat, ahead_ms - 10_000) == "heartbeat"
    assert (desk.state(ahead_ms - 10_000), len(desk.table)) == ("ready", 0)
    assert not any(desk.table._holdings._over.values())


def test_an_emptied_topic_is_noticed() -> None:
    """A gateway that starts after everything was erased has heartbeats that say so, or none."""
    desk = Desk()
    desk.owner.put(SUBJECT, command(SUBJECT))
    assert desk.state() == "stale"
    assert desk.table.check(NOW_MS, AGENT, "GET /x").status == 503
    desk.beat()
    assert desk.state() == "mismatch"
    assert desk.table.check(NOW_MS, AGENT, "GET /x").status == 503


def test_old_heartbeats_prove_nothing_and_disturb_nothing() -> None:
    """Neither one from before a revocation nor the last one once more makes the table disagree."""
    desk = Desk()
    first = signed(desk.owner.heartbeat(NOW_MS, next_offset=3))
    assert desk.put(first) == "heartbeat"
    replaying = signed(desk.owner.heartbeat(NOW_MS + 500, complete=False))
    assert desk.put(replaying, NOW_MS + 500) == "heartbeat"
    desk.put(signed(desk.owner.put(SUBJECT, command(SUBJECT))))
    assert desk.put(first) == "replayed"
    last = signed(desk.owner.heartbeat(NOW_MS + 1_000, next_offset=9))
    assert desk.put(last, NOW_MS + 1_000) == "heartbeat"
    desk.put(signed(desk.owner.put(Subject(workload=OTHER), command(Subject(workload=OTHER)))))
    for old in (first, last, replaying):
        assert desk.put(old, NOW_MS + 4_000) == "replayed"
    assert desk.state(NOW_MS + 5_000) == "ready"
    assert desk.state(NOW_MS + 6_000) == "stale"


def test_a_heir_with_a_slow_clock_is_heard() -> None:
    """A later owner proves by version and offset, whatever its clock says."""
    desk = Desk()
    desk.beat(NOW_MS + 3_000, next_offset=10)
    assert desk.put(signed(desk.owner.heartbeat(NOW_MS, next_offset=11))) == "heartbeat"
    raised = signed(desk.owner.heartbeat(NOW_MS, version=Version(1, 0)))
    assert desk.put(raised) == "heartbeat"


def test_a_stop_that_was_ended_does_not_come_back() -> None:
    """Acts are ordered by when they were signed: not by a log that anybody may write to."""
    desk = Desk()
    desk.put(signed(desk.owner.put(SUBJECT, command(SUBJECT))))
    desk.beat()
    stop = acts("", act("stop"), until_ms=NOW_MS + 600_000)
    start = acts("", at_ms=NOW_MS + 1, until_ms=NOW_MS + 600_000)
    assert desk.put(stop) == "applied"
    assert desk.decision() == "allow"
    assert desk.put(start) == "applied"
    assert desk.put(stop) == "older"
    assert desk.put((operator_key(""), None)) == "unexplained"
    assert desk.put(stop) == "older"
    assert desk.decision() == "deny"
    assert desk.put((operator_key(""), None), NOW_MS + 600_000) == "removed"


def test_an_exemption_is_not_erased() -> None:
    """A tombstone from anybody ends no act before its time."""
    desk = Desk()
    desk.put(signed(revoked()))
    desk.put(acts(AGENT, act("exempt")))
    assert desk.put((operator_key(AGENT), None)) == "unexplained"
    desk.beat(records=0, digest="0")
    assert desk.decision() == "allow"


def test_a_lift_written_again_reaches_no_further() -> None:
    """It cancels what was caused before it was signed, and not what came after."""
    desk = Desk()
    desk.put(signed(desk.owner.put(SUBJECT, command(SUBJECT, caused_at_ms=NOW_MS - 10))))
    lift = acts(AGENT, act("lift"))
    assert desk.put(lift) == "applied"
    desk.beat()
    assert desk.decision() == "allow"
    again_ms = NOW_MS + 2 * LIFT_REACH_MS
    new = command(SUBJECT, caused_at_ms=again_ms, offset=7)
    desk.put(signed(desk.owner.put(SUBJECT, new)), again_ms)
    desk.beat(again_ms)
    assert desk.decision(again_ms) == "deny"
    assert desk.put(lift, again_ms + 1_000) == "unchanged"
    assert desk.decision(again_ms + 1_000) == "deny"
    # A gateway that starts later sees the second copy only.
    late = Desk()
    late.put(signed(desk.owner.put(SUBJECT, new)))
    late.put(lift, again_ms + 1_000)
    late.owner = desk.owner
    late.beat(again_ms + 1_000)
    assert late.decision(again_ms + 1_000) == "deny"


def test_warning_counts_and_obeys() -> None:
    """On the way to keys, everything is taken as without them, and counted by what is wrong."""
    desk = Desk(is_strict=False)
    pair = desk.owner.put(SUBJECT, command(SUBJECT))
    assert desk.put(pair) == "applied"
    assert desk.put(desk.owner.heartbeat()) == "heartbeat"
    assert (desk.state(), desk.decision()) == ("ready", "deny")
    assert desk.table.signed_by == {"": 1}
    assert desk.put(signed(pair)) == "unchanged"
    assert desk.table.signed_by == {"worker-ed25519": 1}
    assert desk.put((pair[0], None)) == "removed"
    assert desk.table.warned == {"unsigned": 2, "unexplained": 1}
    assert not desk.table.counts["unsigned"]


def test_rotation_changes_no_record() -> None:
    """The same record under the next key is the same record: only who signed it is another."""
    old, new = key(), key(kid="worker-next")
    from stream.signing import Signer, Trust, public_part

    believed = Trust([public_part(old), public_part(new)], PLACE, is_strict=True)
    table, topic, owner = CommandTable(SPEC, 1, believed), Topic(), Owner()
    name, payload = owner.put(SUBJECT, command(SUBJECT))
    for one, outcome in ((old, "applied"), (new, "unchanged"), (old, "unchanged")):
        value = Signer(one, PLACE).sign(name, payload)
        assert table.apply(topic.record((name, value))) == outcome
        assert table.signed_by == {one.kid: 1}
    beat_name, payload = owner.heartbeat()
    value = Signer(new, PLACE).sign(beat_name, payload)
    assert table.apply(topic.record((beat_name, value))) == "heartbeat"
    table.finish_loading()
    assert table.state(NOW_MS) == "ready"


def test_without_keys_signatures_are_no_matter() -> None:
    """A gateway without keys obeys signed and unsigned records, and its digest is the same."""
    table, topic, owner = CommandTable(SPEC, 1), Topic(), Owner()
    pair = owner.put(SUBJECT, command(SUBJECT))
    assert table.apply(topic.record(signed(pair))) == "applied"
    assert table.apply(topic.record(pair)) == "unchanged"
    assert table.apply(topic.record(signed(owner.heartbeat()))) == "heartbeat"
    table.finish_loading()
    assert table.state(NOW_MS) == "ready"
    assert [each.body.subject for each in table.in_force(NOW_MS)] == [SUBJECT]
    assert isinstance(decode_value(owner.heartbeat()[1]), Heartbeat)


def test_refusals_are_seen_in_state_tallies_and_log(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway under attack stays ready, counts each refusal, and logs once."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site) as gateway:
            gateway._follower = follower = Follower(
                gateway._reader, site.clock, gateway.spec, trust()
            )
            gateway._trust = trust()
            running = asyncio.create_task(follower.run())
            pair = owner.put(SUBJECT, command(SUBJECT, caused_at_ms=site.clock.at_ms))
            site.publish(*signed(pair))
            site.publish(*signed(owner.heartbeat(site.clock.at_ms)))
            for _ in range(20):
                site.publish(*revoked(OTHER))
            site.publish(pair[0], None)
            assert await gateway.wait_ready(10)
            state = gateway.state()
            assert (state.signing, state.refused) == (
                "require",
                {"unsigned": 20, "unexplained": 1},
            )
            assert state.signed_by == {"worker-ed25519": 1}
            assert gateway.tallies()["refused.unsigned"] == 20
            assert not gateway.check(AGENT, "GET /x").is_allowed
            assert gateway.check(OTHER, "GET /x").is_allowed
            running.cancel()

    with caplog.at_level(logging.WARNING, "stream.gateway"):
        asyncio.run(scene())
    assert len([each for each in caplog.messages if "refused a record" in each]) == 1


def test_a_gateway_without_keys_says_so() -> None:
    """Its state says `off`, so that nobody believes it is protected."""

    async def scene() -> None:
        site, owner = Site(), Owner()
        async with opened(site, owner) as gateway:
            beat(site, owner)
            assert (gateway.state().signing, gateway.state().refused) == ("off", {})

    asyncio.run(scene())

"""A stored row, read: the same totals that kernels have, and the reasons that commands carry."""

import copy

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.enforcement import printable
from stream.engine import State, step
from stream.errors import RowCorrupt
from stream.events import Brake, Conditions, Exemption, Lift, Request, Token, encode_request
from stream.explain import Profile, RowImage, StoredRow, open_row, read_profile
from stream.explain.reading import total_at
from stream.identity import home_partition
from stream.kernel import HashKey
from stream.policy import Policy, load_policy
from stream.profiles import Arrival, Decoder, add_count, bin_of, slide
from stream.profiles.layout import COUNT_WINDOW
from stream.replay import Replay

KEY = HashKey(b"a test key, 16 b")
AGENT = "spiffe://example.org/agent/a"
BEGAN_MS = 1_700_000_000_000
POLICY = """
name: explained
classes: [{name: agents, workloads: ["spiffe://*/agent/*"]}]
rules:
- name: crowd
  limit: {measure: requests, at_most: 10, per: 1m}
  classes: [agents]
  action: throttle
  rate: 1/s
  mode: enforce
- name: crowd-hour
  limit: {measure: requests, at_most: 1000, per: 1m}
  classes: [agents]
  action: observe
- name: volume
  limit: {measure: bytes, at_most: 10kB, per: 1h, effect: read}
  action: throttle
  rate: 1/m
- name: read-then-send
  forbid: {first: ["tool:read_*"], then: ["tool:send_*"], within: 10m}
  action: revoke
  on: task
  for: 15m
  mode: enforce
- name: token
  limit: {measure: errors, at_most: 0, per: 1h}
  action: observe
  on: token
- name: elsewhere
  limit: {measure: requests, at_most: 1, per: 1h}
  classes: [other]
  action: observe
"""


class Desk:
    """A replay, and what it stores of one workload."""

    def __init__(self, policy: str = POLICY) -> None:
        self.policy: Policy = load_policy(policy, "test")
        self.machine = Replay(self.policy, KEY, 1, 64)
        self.names: dict[int, str] = {}

    def do(self, *calls: tuple[float, str], task: str = "", **more: object) -> None:
        """Apply calls of the agent: seconds since the beginning, operation."""
        for at_s, operation in calls:
            at_ms = BEGAN_MS + round(at_s * 1_000)
            request = Request(at_ms, AGENT, operation, task=task, **more)  # type: ignore[arg-type]
            result, rejects = self.machine.apply([encode_request(request)])
            assert not rejects
            self.names |= {value: text for _, value, text in result.names}

    def stored(self) -> StoredRow:
        """The row as it would be in Redis."""
        state: State = self.machine.state
        slot = state.table.find(KEY.hash(AGENT))
        return StoredRow(AGENT, home_partition(AGENT.encode(), 1), state.stored([slot])[0])

    def image(self, policy: Policy | None = None) -> RowImage:
        return open_row(KEY, policy or self.policy, self.stored())

    def read(self, after_s: float = 0.0, conditions: Conditions | None = None) -> Profile:
        """The profile so long after the beginning."""
        now_ms = BEGAN_MS + round(after_s * 1_000)
        return read_profile(self.image(), self.policy, self.names, conditions, now_ms)


@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 9)), min_size=1, max_size=40),
    st.integers(0, 20_000),
    st.sampled_from([1_000, 1_600, 7_777, 60_000]),
)
def test_a_window_is_read_as_kernels_would_slide_it(
    steps: list[tuple[int, int]], later_ms: int, span_ms: int
) -> None:
    """The total at a later time is what the kernel has after sliding there."""
    window = np.zeros(1, COUNT_WINDOW)[0]
    clock_ms = BEGAN_MS
    for pause_ms, amount in steps:
        newest = bin_of(clock_ms + pause_ms, span_ms)
        slide(window, bin_of(clock_ms, span_ms), newest)
        clock_ms += pause_ms
        add_count(window, newest, amount)
    found = total_at(window, clock_ms, clock_ms + later_ms, span_ms)
    slid = copy.deepcopy(window)
    slide(slid, bin_of(clock_ms, span_ms), bin_of(clock_ms + later_ms, span_ms))
    assert found == slid["total"]
    assert total_at(window, clock_ms, clock_ms, span_ms) == window["total"]


def test_distances_are_to_the_limits_of_the_class() -> None:
    """Each limit about the workload has its distance, now; limits on one window stand together."""
    desk = Desk()
    desk.do(*((at_s, "GET /a") for at_s in range(8)), bytes=1_000)
    profile = desk.read(7)
    assert (profile.class_name, profile.events, profile.partition) == ("agents", 8, 0)
    by_measure = {each.measure: each for each in profile.windows}
    assert set(by_measure) == {"requests", "bytes", "errors"}
    crowd, hour = by_measure["requests"].limits
    assert (crowd.rule, crowd.left, crowd.percent, crowd.demand) == ("crowd", 2, 80, 8)
    assert (hour.rule, hour.left, hour.mode) == ("crowd-hour", 992, "shadow")
    (volume,) = by_measure["bytes"].limits
    assert (by_measure["bytes"].now, volume.left, volume.percent) == (8_000, 2_000, 80)
    quiet = desk.read(120)
    assert {each.measure: (each.at_last, each.now) for each in quiet.windows}["requests"] == (8, 0)


def test_what_is_in_force_says_why() -> None:
    """A command comes with rule, subject, end and the reason that gateways give."""
    desk = Desk()
    desk.do((0, "tool:read_mail"), (60, "tool:send_mail"), task="t-1")
    desk.do((61, "GET /a"), token=Token(id="jti", issuer="idp"), outcome="failed")
    revoke, observe = desk.read(62).in_force
    assert (revoke.rule, revoke.action, revoke.mode) == ("read-then-send", "revoke", "enforce")
    assert (revoke.on, revoke.subject) == ("task", "t-1")
    assert revoke.ends_ms == BEGAN_MS + 60_000 + 15 * 60_000
    assert revoke.reason.startswith("tool:send_mail came 1m after a call of tool:read_*")
    assert revoke.command
    assert (observe.rule, observe.on, observe.command) == ("token", "token", "")
    assert observe.subject.startswith("#")
    assert all(each.rule != "read-then-send" for each in desk.read(60 + 15 * 60 + 1).in_force)


@pytest.mark.parametrize("lag_ms", [0, 55_000, 3_600_000, -3_000])
def test_what_gateways_obey_is_in_force(lag_ms: int) -> None:
    """A command holds until its own end, by clocks, however late the event came that caused it."""
    desk = Desk()
    state = State(KEY, 64, 1)
    conditions = Conditions(
        nonce="n", era=0, from_offset=0, policy_hash=desk.policy.hash, policy_text=desk.policy.text
    )
    state.adopt(0, conditions, desk.policy)
    values = [encode_request(Request(BEGAN_MS - lag_ms, AGENT, "GET /a")) for _ in range(11)]
    arrival = Arrival("requests", 0, range(11), [BEGAN_MS] * 11, values)
    batch, rejects = Decoder(KEY, 1).decode([arrival])
    assert not rejects
    (command,) = [each.command for each in step(state, batch).outgoing]
    (row,) = state.stored([state.table.find(KEY.hash(AGENT))])
    image = open_row(KEY, desk.policy, StoredRow(AGENT, 0, row))

    def told(now_ms: int) -> list[str]:
        profile = read_profile(image, desk.policy, {}, None, now_ms)
        return [each.command for each in profile.in_force]

    assert command.expires_at_ms >= BEGAN_MS + 60_000 - 3_000
    assert told(command.expires_at_ms - 1) == [command.id]
    assert told(command.expires_at_ms) == []


def test_sequences_that_have_begun_are_told() -> None:
    """After the first half, the second is what would fire, until its time is over."""
    desk = Desk()
    desk.do((0, "tool:read_mail"), (1, "GET /a"))
    desk.do((5, "tool:read_file"), task="t-1")
    own, in_task = desk.read(6).sequences
    assert (own.task, own.operation, own.then) == ("", "tool:read_mail", ("tool:send_*",))
    assert own.until_ms == BEGAN_MS + 600_000
    assert in_task.task == f"#{KEY.hash('t-1'):016x}"
    assert [each.operation for each in desk.read(602).sequences] == ["tool:read_file"]


def test_tasks_and_transitions_are_named() -> None:
    """Tasks come the last used first with their last operations, transitions by their weight."""
    desk = Desk()
    desk.do((0, "a"), (1, "b"), (2, "a"), (3, "b"))
    desk.do((4, "c"), task="t-1")
    profile = desk.read(5)
    assert [each.recent for each in profile.contexts] == [("c",), ("b", "a", "b")]
    assert [each.events for each in profile.contexts] == [1, 4]
    assert [(each.source, each.target, each.count) for each in profile.transitions] == [
        ("a", "b", 2),
        ("b", "a", 1),
    ]
    desk.names.clear()
    assert desk.read(5).transitions[0].source == f"#{KEY.hash('a'):016x}"


def test_all_hashes_can_be_asked_for() -> None:
    """An open row names every operation in it, once."""
    desk = Desk()
    desk.do((0, "tool:read_a"), (1, "b"), (2, "c"), task="t-1")
    assert desk.image().operations() == sorted(map(KEY.hash, ("tool:read_a", "b", "c")))


def test_what_outranks_the_rules_is_noted() -> None:
    """Exemptions, stops, lifts, idleness and a change of policy are said in sentences."""
    exempt = POLICY + 'exemptions: [{workloads: ["spiffe://*/agent/a"], note: why not}]\n'
    desk = Desk(exempt)
    desk.do((0, "a"))
    assert any("policy exempts" in each for each in desk.read(1).notes)
    desk = Desk()
    desk.do((0, "a"))
    assert desk.read(1).notes == ()
    forever_ms = BEGAN_MS * 2
    conditions = Conditions(
        nonce="n",
        era=0,
        from_offset=0,
        policy_hash=desk.policy.hash,
        policy_text=desk.policy.text,
        stopped_until_ms=forever_ms,
        exemptions=(Exemption(workload=AGENT, until_ms=forever_ms, reason="agreed"),),
        lifts=(Lift(AGENT, 5, BEGAN_MS),),
        forgotten_before_ms=BEGAN_MS + 1,
        brake=Brake((desk.policy.class_name(desk.policy.class_of(AGENT)),)),
    )
    noted = " | ".join(desk.read(1, conditions).notes)
    for word in ("stopped by an operator", "agreed", "lifted", "forgotten", "the brake holds"):
        assert word in noted
    assert any("silent for longer than 8d" in each for each in desk.read(9 * 86_400).notes)


def test_a_row_is_read_under_another_policy() -> None:
    """A candidate policy sees the windows that it shares with the old one, and says so."""
    desk = Desk()
    desk.do(*((at_s, "GET /a") for at_s in range(5)))
    candidate = load_policy(POLICY.replace("at_most: 10,", "at_most: 6,"), "candidate")
    image = desk.image(candidate)
    profile = read_profile(image, candidate, desk.names, None, BEGAN_MS + 5_000)
    assert profile.windows[0].limits[0].left == 1
    assert any("another policy" in each for each in profile.notes)


def test_a_profile_is_plain_json() -> None:
    """All of it can be written as JSON and read back."""
    desk = Desk()
    desk.do(*((at_s / 10, "tool:read_mail") for at_s in range(20)), (3, "tool:send"), task="t")
    profile = desk.read(4)
    assert profile.in_force
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile
    assert all(printable(each.reason) for each in profile.in_force)


def test_a_corrupt_row_is_told() -> None:
    """A row that fails its checksum, or with a tail that is not ours, is no profile."""
    desk = Desk()
    desk.do((0, "a"))
    stored = desk.stored()
    broken = bytearray(stored.row)
    broken[40] ^= 1
    for row in (bytes(broken), stored.row + b"tail"):
        with pytest.raises(RowCorrupt):
            open_row(KEY, desk.policy, stored._replace(row=row))

"""How much a brake allows, where it is to hold, and what entries say of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream.enforcement import NEVER_CLOSED
from stream.engine import Enforced, State
from stream.events import Conditions, Full, InForce, decode_entry, with_brake, with_full
from stream.policy import Policy, load_policy
from stream.runtime import Start
from stream.runtime.baselines import with_baseline
from stream.runtime.brake import Settled, allow, braked_of, closings, note_enforced
from stream.runtime.entries import in_era
from stream.runtime.growth import with_counts
from stream.runtime.owned import Owned
from stream.runtime.policies import Policies
from stream.runtime.published import Published
from stream.runtime.recent import Recent, bin_ms
from tests.live import KEY
from tests.unit.runtime.test_brake import POLICY

PLAIN = Conditions(nonce="n", era=3, from_offset=5, policy_hash="h", policy_text="{}")


def owned(braked: tuple[str, ...] = (), clock_ms: int = 10**9, **fields: Any) -> Owned:
    """A partition in which the brake holds somewhere."""
    return Owned(
        partition=0, nonce="n", epoch=1, number=0, position=9, replay_until=7, topic_id="",
        conditions=with_brake(PLAIN, braked), journal_offset=0, published=Published({}),
        coming=fields.pop("coming", []), version=None, clock_ms=clock_ms, **fields,
    )  # fmt: skip


class _Counted:
    """So many workloads of each class have been there for long."""

    def __init__(self, count: int) -> None:
        self.count = count

    def of(self, partition: int, tier: int) -> int:
        """Return the count."""
        return self.count


def policy_of(brake: str = "{share: 10%, at_least: 2, window: 16s, settled_after: 5s}") -> Policy:
    """A policy of two classes with a brake."""
    text = POLICY.partition("brake:")[0].replace(
        "rules:", 'classes: [{name: upper, workloads: ["spiffe://*/u/*"]}]\nrules:'
    )
    return load_policy(f"{text}brake: {brake}", "test")


@pytest.mark.parametrize(
    ("braked", "counted", "settled", "age_ms", "expect"),
    [
        ((), {}, 0, 0, set()),
        ((), {"upper": 1}, 0, 0, set()),
        ((), {"upper": 2, "other": 1}, 0, 0, {"upper"}),
        ((), {"upper": 2}, 29, 0, {"upper"}),
        ((), {"upper": 2}, 30, 0, set()),
        ((), {"upper": 2}, 0, 17_000, set()),
        (("upper",), {"upper": 9}, 100, 0, {"upper"}),
        (("upper",), {"upper": 8}, 100, 0, set()),
        (("upper",), {"upper": 9}, 100, 17_000, set()),
        (("gone",), {"upper": 0}, 100, 0, set()),
    ],
)
def test_where_the_brake_is_to_hold(
    braked: tuple[str, ...], counted: dict[str, int], settled: int, age_ms: int, expect: set[str]
) -> None:
    """From what is allowed on, until under nine tenths of it, in a window of the log's clock."""
    here = owned(braked, 10**9 + age_ms)
    here.enforced = Recent(began_ms=1)
    for tier, count in counted.items():
        for _ in range(count):
            here.enforced.add(tier, 10**9, 16_000)
    assert braked_of(here, policy_of(), _Counted(settled)) == expect


def test_what_an_heir_finds_closed_stays_so_for_a_window() -> None:
    """It has not seen what its predecessor counted; what it closed itself, it has."""
    here, policy = owned(("upper",), 10**9), policy_of()
    assert braked_of(here, policy, _Counted(0)) == {"upper"}, "nothing applied yet"
    here.enforced = Recent(began_ms=10**9 - 15_999)
    assert braked_of(here, policy, _Counted(0)) == {"upper"}
    here.enforced.closed.add("upper")
    assert braked_of(here, policy, _Counted(0)) == set()
    here.enforced = Recent(began_ms=10**9 - 16_000)
    assert braked_of(here, policy, _Counted(0)) == set()
    assert braked_of(here, policy_of("off"), _Counted(0)) == set()


def test_a_window_never_counts_too_few() -> None:
    """At least all of it, and at most a sixteenth more."""
    recent, window_ms = Recent(), 1_000
    for at_ms in range(0, 5_000, 7):
        recent.add("one", 10**6 + at_ms, window_ms)
        first = at_ms - window_ms
        true = len([each for each in range(0, at_ms + 1, 7) if each > first])
        more = len([each for each in range(0, at_ms + 1, 7) if each > first - bin_ms(window_ms)])
        assert true <= recent.count("one", 10**6 + at_ms, window_ms) <= more
    assert len(recent.starts["one"]) <= 18
    assert recent.count("other", 10**6, window_ms) == 0


def test_an_allowance_is_what_is_left_of_the_window() -> None:
    """Of the classes where something is enforced; what closes holds behind earlier owners only."""
    state, policy = State(KEY, 8, 1), policy_of()
    here = owned()
    note_enforced(here, policy, [Enforced(0, "upper", 10**9)] * 3)
    allow(state, here, policy, _Counted(100), (10**9, 5.0))
    assert state.brakes.left[0, :3].tolist() == [7, 10, NEVER_CLOSED]
    assert state.brakes.counts_from.tolist() == [7]
    note_enforced(here, policy, [Enforced(0, "upper", 10**9)])
    allow(state, here, policy, _Counted(100), (10**9, 5.9))
    assert state.brakes.left[0, 0] == 7, "the kernel counts until the next look"
    allow(state, here, policy, _Counted(100), (10**9, 6.0))
    assert state.brakes.left[0, 0] == 6
    note_enforced(here, policy, [Enforced(0, "upper", 10**9)])
    here.conditions = with_brake(PLAIN, ())
    allow(state, here, policy, _Counted(100), (10**9, 6.0))
    assert state.brakes.left[0, 0] == 5, "what has opened again begins with what is allowed"
    allow(state, here, policy, _Counted(100), (10**9 + 17_000, 6.0))
    assert state.brakes.left[0, 0] == 10
    here.coming = [(3, PLAIN)]
    allow(state, here, policy, _Counted(100), (10**9, 6.0))
    assert state.brakes.counts_from.tolist() == [NEVER_CLOSED]


def test_what_a_step_closed_is_journalled_from_there() -> None:
    """In the order of offsets; what would hold only behind an earlier owner's events does not."""
    state, policy, here = State(KEY, 8, 1), policy_of(), owned()
    state.brakes.closed_from[0, :2] = 20, 12
    assert closings(state, here, policy, 20) == [(12, ["other"]), (20, ["upper"])]
    assert closings(state, here, policy, 19) == [(12, ["other"])]
    assert state.brakes.closed_from[0, 0] == NEVER_CLOSED
    assert closings(state, owned(("other",)), policy, 19) == []


def test_only_entries_that_name_a_brake_have_the_new_format() -> None:
    """Whatever else they say, in whatever order it came to them; and eras do not end it."""
    braked = with_brake(PLAIN, {"upper", "other"})
    assert (braked.format, braked.braked) == (4, ("other", "upper"))
    assert with_brake(braked, ()) == PLAIN
    assert decode_entry(msgspec.json.encode(braked)) == braked
    full = with_full(braked, Full(("00ff00ff00ff00ff",)))
    assert (full.format, with_brake(full, ()).format) == (4, 3)
    assert with_full(full, None) == braked
    learned = with_baseline(with_counts(braked, (2, 4)), InForce("v"))
    assert (learned.format, with_brake(learned, ()).format) == (4, 3)
    assert with_brake(with_counts(braked, (2, 4)), ()).format == 2
    assert in_era(full, Start(0, 4, 0, 4, ())).braked == braked.braked
    assert not in_era(full, Start(0, 4, 0, 4, ())).full


class _Clock:
    """A clock that goes on by a step whenever it is read."""

    def __init__(self) -> None:
        self.now_s, self.step_s = 0.0, 0.0

    def monotonic_s(self) -> float:
        """Return the time."""
        self.now_s += self.step_s
        return self.now_s


def test_workloads_are_counted_by_partition_class_and_age_now_and_then() -> None:
    """Those that were there for long by their own clocks; counting takes little of the time."""
    state, policy, clock = State(KEY, 64, 2), policy_of(), _Clock()
    policies = Policies(policy, load_policy)
    first, second = owned(), owned()
    first.conditions = second.conditions = msgspec.structs.replace(
        PLAIN, policy_hash=policy.hash, policy_text=policy.text
    )
    second.partition = 1
    for number in range(20):
        slot = state.table.admit(number + 1, f"w{number}", 0, number % 2)
        head, local = state.table.sections.head[slot], state.table.sections.local[slot]
        head["first_ms"], head["clock_ms"] = 10**9, 10**9 + number * 1_000
        local["class_index"], local["serial"] = number // 10, 0 if number < 18 else -1
    settled = Settled(state, clock)
    assert settled.of(0, 1) == 0
    settled.look([first, second], policies)
    assert [settled.of(0, tier) for tier in (0, 1)] == [2, 4], "rows of 5 s and more, resolved"
    assert [settled.of(1, tier) for tier in (0, 1)] == [3, 4]
    state.table.remove(int(state.table.find(12)))
    settled.look([first, second], policies)
    assert settled.of(1, 1) == 4, "not so soon"
    clock.now_s, clock.step_s = 1.0, 0.05
    settled.look([first, second], policies)
    assert settled.of(1, 1) == 3
    state.table.remove(int(state.table.find(14)))
    clock.now_s, clock.step_s = 4.0, 0.0
    settled.look([first, second], policies)
    assert settled.of(1, 1) == 3, "what took 50 ms is not done again for 5 s"

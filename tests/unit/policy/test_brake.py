"""What a policy says of the brake, and what is meant where it says nothing."""

from __future__ import annotations

import pytest

from stream.errors import PolicyError
from stream.policy import default_policy, lint_policy, load_policy, read_policy, share_ppm

RULE = """\
name: x
classes:
  - {name: agents, workloads: ["spiffe://*/agents/*"]}
  - {name: services, workloads: ["spiffe://*/services/*"]}
rules:
  - name: odd
    anomaly: {of: task-novelty}
    action: revoke
    mode: enforce
    note: Said.
"""


def test_what_is_not_said_is_on_and_keeps_its_hash() -> None:
    """A tenth in ten minutes, at least five, of those that have been there for an hour."""
    policy = load_policy(RULE, "p.yaml")
    assert policy.brake is not None
    assert (policy.brake.window_ms, policy.brake.settled_ms) == (600_000, 3_600_000)
    assert [policy.brake.allowed(0, count) for count in (0, 50, 59, 60, 1_000)] == [5, 5, 5, 6, 100]
    assert "brake" not in policy.text
    assert load_policy(policy.text, "journal").hash == policy.hash


def test_the_default_policy_says_what_holds_anyway() -> None:
    """Its numbers are those of a policy that says nothing."""
    policy, bare = default_policy(), load_policy(RULE, "p.yaml")
    assert policy.brake is not None
    assert bare.brake is not None
    assert policy.brake.tiers[0] == bare.brake.tiers[0]
    assert policy.brake[:2] == bare.brake[:2]
    assert "brake" in policy.text


def test_a_class_may_have_its_own() -> None:
    """What it leaves out is as for all; the canonical text means the same."""
    text = (
        RULE + "brake:\n  share: 5 %\n  classes:\n"
        "    - {name: services, share: 0.5%}\n    - {name: other, at_least: 1}\n"
    )
    policy = load_policy(text, "p.yaml")
    assert policy.brake is not None
    assert [each[:2] for each in policy.brake.tiers] == [(50_000, 5), (5_000, 5), (50_000, 1)]
    assert policy.brake.spelled(1) == "0.5% of them in 10m, or 5"
    assert load_policy(policy.text, "journal").brake == policy.brake


def test_only_what_enforces_by_learned_evidence_is_braked() -> None:
    """Not a rule in shadow, not one that observes, and only in its classes."""
    assert load_policy(RULE, "p").braked_tiers == (0, 1, 2)
    assert load_policy(RULE + "    classes: [services, other]\n", "p").braked_tiers == (1, 2)
    assert load_policy(RULE.replace("enforce", "shadow"), "p").braked_tiers == ()
    assert load_policy(RULE.replace("revoke", "observe"), "p").braked_tiers == ()
    assert load_policy(RULE + "brake: off\n", "p").braked_tiers == ()


def test_off_is_allowed_and_remarked_on() -> None:
    """Whoever has no brake should know."""
    policy, document = read_policy(RULE + "brake: off\n", "p.yaml")
    assert policy.brake is None
    assert [(each.code, each.line) for each in lint_policy(policy, document.line_of)] == [
        ("brake-off", 11)
    ]
    assert not lint_policy(load_policy(RULE, "p.yaml"))


@pytest.mark.parametrize(
    ("brake", "path", "words"),
    [
        ("{share: 10}", "$.brake.share", "write a share such as 10% or 0.5%"),
        ("{share: 60%}", "$.brake.share", "at most 50%"),
        ("{share: 0%}", "$.brake.share", "'0%' is no share"),
        ("{share: 5 % of all}", "$.brake.share", "is no share"),
        ("{window: 1ms}", "$.brake.window", "1ms is not between 1s and 1d"),
        ("{settled_after: 31d}", "$.brake.settled_after", "not between 0ms and 30d"),
        ("{at_least: 0}", "$.brake.at_least", ">= 1"),
        ("{shar: 5%}", "$.brake.shar", "did you mean `share`?"),
        ("{classes: [{name: agent}]}", "$.brake.classes[0].name", "did you mean `agents`?"),
        ("{classes: [{name: other, share: 99%}]}", "$.brake.classes[0].share", "at most 50%"),
        ("{classes: [{name: other}, {name: other}]}", "$.brake.classes[1].name", "there twice"),
        ("on", "$.brake", "`on` is no choice here"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_path(brake: str, path: str, words: str) -> None:
    """As everywhere in a policy."""
    with pytest.raises(PolicyError) as caught:
        load_policy(f"{RULE}brake: {brake}\n", "p.yaml")
    message = str(caught.value)
    assert message.startswith("p.yaml:11: "), message
    assert f" - at {path}" in message
    assert words in message


def test_a_share_is_in_millionths() -> None:
    """Percent with up to four places, with a space or without."""
    assert [share_ppm(each) for each in ("5%", "0.5 %", "0.0001%", "50%")] == [
        50_000, 5_000, 1, 500_000
    ]  # fmt: skip

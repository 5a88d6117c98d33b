"""Rules on silence: what they may ask for, and what kernels take of them."""

import pytest

from stream.errors import PolicyError
from stream.policy import default_policy, load_policy

RULE = """
name: p
rules:
  - name: quiet
    anomaly: {of: silence, false_alarms: %s}
    action: %s
"""


def test_a_rule_on_silence_is_no_rule_on_what_calls_show() -> None:
    """It has rows of its own, so nothing asks it at an event."""
    policy = load_policy(RULE % ("2 per workload per 30 days", "observe"), "p.yaml")
    tables = policy.bind(policy.layout)
    (rule,) = tables.silences
    assert (rule["alarms"], rule["per_ms"], rule["index"]) == (2, 30 * 86_400_000, 0)
    assert not len(tables.anomalies)
    assert tables.classes[0]["silences_end"] == 1


@pytest.mark.parametrize(
    ("allowed", "action", "said"),
    [
        ("1 per workload per 30 days", "observe\n    on: task", "bound only as a whole"),
        ("0.5% of tasks", "observe", "belongs to no task"),
    ],
)
def test_what_a_silence_cannot_have(allowed: str, action: str, said: str) -> None:
    """It is nobody's task, token or operation, and no task that it would be a share of."""
    with pytest.raises(PolicyError, match=said) as caught:
        load_policy(RULE % (allowed, action), "p.yaml")
    assert caught.value.hint


def test_the_default_policy_misses_whom_it_knows() -> None:
    """One rule, of every class."""
    tables = default_policy().bind(default_policy().layout)
    assert {each["silences_end"] - each["silences_start"] for each in tables.classes} == {1}

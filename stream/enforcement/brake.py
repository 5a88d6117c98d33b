"""The brake on ourselves: rules on learned evidence newly enforce only so many workloads of a tier.

A tier is a class of the policy. How many it may still be is live state of a partition's owner: an
allowance, counted down at each workload that had nothing enforced on it by such a rule. The event
that takes the last of it closes the tier from the next offset on. The owner journals that before
anything of it leaves, and an heir reads it there; so bodies follow from the log and the journal.

Brand-new workloads take nothing of the allowance: names cost nothing, and they would count for
much. Where a tier is closed nobody is newly enforced, they included; who is held stays held. Exact
rules never ask.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.events import TIERS_MAX
from stream.kernel import kernel
from stream.policy import ENFORCE, SETTLED_MS
from stream.profiles import LEDGER

from .ledger import OBSERVE

NEVER_CLOSED: Final = 1 << 62


class Brakes(NamedTuple):
    """What the brake says in each partition now.

    Shapes: left, closed_from [partition, tier]: how many workloads may still be newly enforced, and
            the offset from which none may; counts_from [partition]: the offset before which no
            allowance closes anything, as an earlier owner may have published what came of it.
    """

    left: Any
    closed_from: Any
    counts_from: Any


def new_brakes(partitions: int) -> Brakes:
    """Return brakes that hold nobody, and never do by themselves."""
    tiers = partitions, TIERS_MAX
    return Brakes(
        np.full(tiers, NEVER_CLOSED, np.int64),
        np.full(tiers, NEVER_CLOSED, np.int64),
        np.full(partitions, NEVER_CLOSED, np.int64),
    )


@kernel
def may_enforce(rule: Any, force: int) -> bool:
    """Tell whether a rule on learned evidence would do something to its workload."""
    return bool(min(int(rule["mode"]), int(force)) == ENFORCE and rule["action"] != OBSERVE)


@kernel
def is_closed(event: Any, tier: int, brakes: Brakes) -> bool:
    """Tell whether nobody of a tier is newly enforced at an event."""
    return bool(event["offset"] >= brakes.closed_from[event["partition"], tier])


@kernel
def is_held(ledger: Any, head: Any, policy: Any, group: Any, clock_ms: int) -> bool:
    """Tell whether a rule on learned evidence of a class enforces something on a row now."""
    if head["in_force"] == 0:
        return False
    for place in range(LEDGER):
        entry = ledger[place]
        if entry["mode"] == ENFORCE and entry["until_ms"] > clock_ms and entry["action"] != OBSERVE:
            for number in range(group["anomalies_start"], group["anomalies_end"]):
                if policy.anomalies[number]["rule"] == entry["rule"]:
                    return True
            for number in range(group["silences_start"], group["silences_end"]):
                if policy.silences[number]["rule"] == entry["rule"]:
                    return True
    return False


@kernel
def is_settled(head: Any, clock_ms: int, policy: Any) -> bool:
    """Tell whether a workload has been there for so long that it counts."""
    return bool(clock_ms - head["first_ms"] >= policy.facts[SETTLED_MS])


@kernel
def take(event: Any, tier: int, brakes: Brakes) -> None:
    """Take one of a tier's allowance; the last one closes it behind the event. Mutates: brakes."""
    partition = event["partition"]
    brakes.left[partition, tier] -= 1
    if brakes.left[partition, tier] <= 0 and brakes.closed_from[partition, tier] == NEVER_CLOSED:
        brakes.closed_from[partition, tier] = max(
            event["offset"] + 1, brakes.counts_from[partition]
        )

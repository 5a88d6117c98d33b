"""The policy file as Structs: what an operator writes, before any meaning is compiled.

Unknown fields are refused, so a misspelt setting is a message and not a hole. `text.py` turns a
YAML file into a `PolicySpec` with line numbers in its errors; `compiled.py` gives it meaning.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# A description says what to write there; `text.py` gives it as the hint of a message.
Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        # Python's `$` also matches before a line end, which no name shall have.
        pattern=r"^[a-z0-9][a-z0-9._-]*$(?!\n)",
        description="a name of small letters, digits, `.`, `_` and `-`, such as export-burst",
    ),
]
Note = Annotated[
    str, msgspec.Meta(min_length=1, max_length=512, description="a sentence of 1..512 characters")
]
Duration = Annotated[
    str,
    msgspec.Meta(min_length=2, max_length=32, description="a duration such as 10s, 5m or 1h30m"),
]
Pattern = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=2048, description="a pattern, as text in quotes"),
]
Patterns = Annotated[
    tuple[Pattern, ...],
    msgspec.Meta(
        min_length=1, max_length=64, description='a list of 1..64 patterns: ["...", "..."]'
    ),
]
Names = Annotated[
    tuple[Name, ...], msgspec.Meta(max_length=256, description="a list of names: [a, b]")
]
RateText = Annotated[
    str, msgspec.Meta(min_length=3, max_length=32, description="a rate such as 5/s or 300/5m")
]
AlarmsText = Annotated[
    str,
    msgspec.Meta(
        min_length=4,
        max_length=40,
        description="0.5% of tasks, or 1 per workload per 30 days",
    ),
]
_AMOUNT = "a whole number of at most 4 x 10^17, or text such as 100k or 20MB"
Amount = (
    Annotated[int, msgspec.Meta(ge=0, le=4 * 10**17, description=_AMOUNT)]
    | Annotated[str, msgspec.Meta(min_length=1, max_length=32, description=_AMOUNT)]
)
ShareText = Annotated[
    str, msgspec.Meta(min_length=2, max_length=16, description="a share such as 10% or 0.5%")
]
AtLeast = Annotated[
    int, msgspec.Meta(ge=1, le=1_000_000, description="a whole number of 1..1000000")
]
ControlId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, description="a control id such as OWASP ASI02")
]

Measure = Literal["requests", "errors", "denials", "bytes", "cost"]


class ClassSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Workloads expected to behave alike; the first class with a matching pattern has them."""

    name: Name
    workloads: Patterns


class LimitSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A level: more than `at_most` of a measure within any span of length `per`."""

    measure: Measure
    at_most: Amount
    per: Duration
    operations: Patterns | None = None
    effect: Literal["read", "change"] | None = None


class ForbidSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An edge: an operation of `first`, then one of `then` within a span, in one context."""

    first: Patterns
    then: Patterns
    within: Duration


class AnomalySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Learned evidence beyond what the budget of false alarms allows; needs a baseline.

    `of`: `task-novelty`, is this call what tasks of this purpose do? `behaviour`, how calls are
    made: order, loops, fallbacks, errors, and the workload's rates against its own past. `silence`,
    no call for longer than the workload's own past explains: what follows binds the workload as a
    whole, should it come back; its budget is so many a workload in a span.
    `false_alarms`: the share of benign tasks that may be taken for odd, or how many a workload in a
    span; the threshold follows from the baseline's calibration, that of silence from how often the
    workload was silent.
    """

    of: Literal["task-novelty", "behaviour", "silence"]
    false_alarms: AlarmsText = "0.5% of tasks"


class RuleSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: exactly one of `limit`, `forbid` and `anomaly`, and what follows from it.

    `on` says what a command binds: all of the workload, or the task, token or operation of the
    causing event. `classes` empty means every class. `for` is how long a command lasts.
    """

    name: Name
    limit: LimitSpec | None = None
    forbid: ForbidSpec | None = None
    # Unset, not None: the canonical text of policies without it, and so their hash, stays.
    anomaly: AnomalySpec | msgspec.UnsetType = msgspec.UNSET
    classes: Names = ()
    action: Literal["observe", "throttle", "revoke"]
    on: Literal["workload", "task", "token", "operation"] = "workload"
    rate: RateText | None = None
    duration: Duration = msgspec.field(default="5m", name="for")
    mode: Literal["off", "shadow", "enforce"] = "shadow"
    note: Note | None = None
    controls: Annotated[tuple[ControlId, ...], msgspec.Meta(max_length=16)] = ()


class ExemptionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Workloads whose findings are recorded and that no command binds."""

    workloads: Patterns
    note: Note


class ClassBrakeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is otherwise for one class, `name`; unset is as for all."""

    name: Name
    share: ShareText | None = None
    at_least: AtLeast | None = None


class BrakeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many workloads of a class `anomaly` rules may newly enforce within `window`.

    That is `share` of those that have been there for `settled_after`, but `at_least` so many, in
    each partition; beyond it their commands go out as shadow. Younger ones do not count.
    """

    share: ShareText = "10%"
    window: Duration = "10m"
    at_least: AtLeast = 5
    settled_after: Duration = "1h"
    classes: Annotated[tuple[ClassBrakeSpec, ...], msgspec.Meta(max_length=257)] = ()


class PolicySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole policy.

    `tasks`: `vouched` where the gateways of the topic vouch for task ids, `granted` where a task
    counts only after its grant event. `gateways`: how many share the traffic evenly, and so a
    throttle's rate. `idle`: a row restarts after so long without an event.
    `skew`: how far ahead of the broker's clock an event's time may be. `brake`: `off` for none;
    where nothing is said it is on, as `BrakeSpec` has it.
    """

    name: Name
    tasks: Literal["vouched", "granted"] = "vouched"
    gateways: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    idle: Duration = "8d"
    skew: Duration = "5s"
    # Unset, not a default: the canonical text of policies without it, and so their hash, stays.
    brake: BrakeSpec | Literal["off"] | msgspec.UnsetType = msgspec.UNSET
    classes: Annotated[tuple[ClassSpec, ...], msgspec.Meta(max_length=256)] = ()
    rules: Annotated[tuple[RuleSpec, ...], msgspec.Meta(max_length=1024)] = ()
    exemptions: Annotated[tuple[ExemptionSpec, ...], msgspec.Meta(max_length=256)] = ()

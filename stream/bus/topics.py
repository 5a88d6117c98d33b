"""What a topic must be, in the broker's own settings, and what an existing one lacks.

Both doors create and judge topics by this file. Only what correctness rests on is refused:
compaction (a gateway's table), append times (an event's clock is clamped to them), retention (what
a new owner replays), size, partitions, copies. What is tuning is set at creation, then left alone.
Settings that this principal may not look at are not judged, and that is said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from stream.errors import ConfigError

from .contract import TopicSpec, TopicState

log = logging.getLogger(__name__)

# Kafka writes "for ever" as -1; here it is a number that compares as one.
FOREVER_MS: Final = 2**63 - 1
# A reader that begins at the start of a compacted topic must reach the end before the tombstones
# it has yet to see are gone, or it keeps what they delete.
TOMBSTONES_MS: Final = 24 * 3_600_000
TOMBSTONES_LEAST_MS: Final = 3_600_000
# The segment being written is never compacted: this bounds what a rebuild reads twice.
COMPACTED_SEGMENT_MS: Final = 600_000


class TopicDoor(Protocol):
    """What `ensure` needs of a door."""

    async def create(self, specs: Sequence[tuple[TopicSpec, dict[str, str]]]) -> None:
        """Create topics with these settings; one that somebody else just created is fine."""
        ...

    async def describe(self, names: Sequence[str]) -> list[TopicState]:
        """Return the states of the topics that exist."""
        ...


class Fault(NamedTuple):
    """One setting of a topic that is not what it must be."""

    setting: str
    found: str
    wanted: str
    put: str


async def ensure(door: TopicDoor, specs: Sequence[TopicSpec]) -> list[TopicState]:
    """Create what is missing; return all states in the order of `specs`.

    Topics that outlive others come after them: how long those really keep decides.

    Errors: ConfigError, when a topic is not what it must be, or cannot be made so that it is.
    """
    for wave in ([s for s in specs if not s.outlives], [s for s in specs if s.outlives]):
        states = await _states(door, specs)
        missing = [spec for spec in wave if spec.name not in states]
        if missing:
            _check_lengths(missing, states)
            await door.create([(s, settings(s, retention_least_ms(s, states))) for s in missing])
    states = await _states(door, specs)
    for spec in specs:
        check(spec, states)
    hidden = sorted(each.name for each in states.values() if each.is_config_hidden)
    if hidden:
        log.warning(
            "the settings of topics %s are taken for right: this principal has no right"
            " DescribeConfigs to look at them, see `enforcer acl`",
            ", ".join(hidden),
        )
    return [states[spec.name] for spec in specs]


async def _states(door: TopicDoor, specs: Sequence[TopicSpec]) -> dict[str, TopicState]:
    names = {spec.name for spec in specs} | {spec.outlives for spec in specs if spec.outlives}
    return {state.name: state for state in await door.describe(sorted(names))}


def _check_lengths(missing: Sequence[TopicSpec], states: Mapping[str, TopicState]) -> None:
    """Refuse to make a topic that must outlive one whose retention we may not look at."""
    for spec in missing:
        other = states.get(spec.outlives)
        if other is not None and other.is_config_hidden:
            raise ConfigError(
                f"topic {spec.name} cannot be created: it must keep as long as {other.name}, whose"
                " settings we may not look at",
                hint="let `enforcer topics` create it as somebody who may, see `enforcer acl`",
            )


def retention_least_ms(spec: TopicSpec, states: Mapping[str, TopicState]) -> int:
    """Return how long a topic must keep records, given the topics that exist."""
    other = states.get(spec.outlives)
    return max(spec.retention_ms, _retention_ms(other) if other is not None else 0)


def settings(spec: TopicSpec, retention_ms: int) -> dict[str, str]:
    """Return the broker's settings to create a topic with."""
    chosen = {
        "message.timestamp.type": "LogAppendTime" if spec.append_time else "CreateTime",
        "max.message.bytes": str(spec.record_bytes_max),
        "min.insync.replicas": str(_in_sync_least(spec)),
    }
    if spec.compacted:
        return chosen | {
            "cleanup.policy": "compact",
            "delete.retention.ms": str(TOMBSTONES_MS),
            "segment.ms": str(COMPACTED_SEGMENT_MS),
            "min.cleanable.dirty.ratio": "0.1",
        }
    return chosen | {
        "cleanup.policy": "delete",
        "retention.ms": _retention_text(retention_ms),
        "retention.bytes": "-1",
    }


def check(spec: TopicSpec, states: Mapping[str, TopicState]) -> None:
    """Refuse a topic that is not what it must be.

    Errors: ConfigError names the topic, each setting, what it is and what it must be; the hint is
    the command that repairs it.
    """
    state = states.get(spec.name)
    if state is None:
        raise ConfigError(
            f"topic {spec.name} does not exist although it was just created",
            hint="look for who deletes topics, and for the broker's create.topic.policy",
        )
    shape = [
        Fault(name, str(found), f"{at_least}{wanted}", "")
        for name, found, at_least, wanted, is_fine in (
            ("partitions", state.partitions, "", spec.partitions,
             state.partitions == spec.partitions
             or (spec.may_grow and state.partitions % spec.partitions == 0)),
            ("replicas", state.replicas, "at least ", spec.replicas,
             state.replicas >= spec.replicas),
        )
        if not is_fine
    ]  # fmt: skip
    faults = shape
    if not state.is_config_hidden:
        faults += _faults(spec, state, retention_least_ms(spec, states))
    if faults:
        said = "; ".join(f"{f.setting} is {f.found}, must be {f.wanted}" for f in faults)
        raise ConfigError(f"topic {spec.name}: {said}", hint=_hint(spec.name, faults))


def check_growth(name: str, found: int, wanted: int) -> None:
    """Refuse to let a topic have fewer partitions: Kafka cannot. Errors: ConfigError."""
    if found > wanted:
        raise ConfigError(
            f"topic {name} has {found} partitions, and cannot have {wanted}",
            hint=f"partitions are never taken away: name {found} or a multiple of it",
        )


def _faults(spec: TopicSpec, state: TopicState, retention_ms: int) -> list[Fault]:
    wanted = settings(spec, retention_ms)
    exact = ["cleanup.policy", "message.timestamp.type"]
    least = {
        "max.message.bytes": spec.record_bytes_max,
        "min.insync.replicas": _in_sync_least(spec),
    }
    if spec.compacted:
        least["delete.retention.ms"] = TOMBSTONES_LEAST_MS
    elif spec.outlives:
        # A limit by size could end it before the other topic's time is over.
        exact.append("retention.bytes")
    found = state.config
    faults = [
        Fault(name, found.get(name, "unknown"), wanted[name], wanted[name])
        for name in exact
        if found.get(name) != wanted[name]
    ]
    faults += [
        Fault(name, found.get(name, "unknown"), f"at least {bound}", wanted[name])
        for name, bound in least.items()
        if int(found.get(name, -1)) < bound
    ]
    if not spec.compacted and _retention_ms(state) < retention_ms:
        text = _retention_text(retention_ms)
        why = f", as long as {spec.outlives}" if spec.outlives else ""
        floor = "-1 (for ever)" if text == "-1" else f"at least {text}"
        faults.append(
            Fault("retention.ms", found.get("retention.ms", "unknown"), f"{floor}{why}", text)
        )
    return faults


def _hint(topic: str, faults: Sequence[Fault]) -> str:
    hints = []
    puts = ",".join(f"{fault.setting}={fault.put}" for fault in faults if fault.put)
    if puts:
        hints.append(
            "kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics"
            f" --entity-name {topic} --add-config {puts}"
        )
    if any(fault.setting == "partitions" for fault in faults):
        hints.append(f"configure {topic} with as many partitions as it has, or make it anew")
    if any(fault.setting == "replicas" for fault in faults):
        hints.append(f"move {topic} with kafka-reassign-partitions.sh, or make it anew")
    return "; ".join(hints)


def _in_sync_least(spec: TopicSpec) -> int:
    # One copy may be away; an acknowledged record is then still on all others.
    return max(1, spec.replicas - 1)


def _retention_ms(state: TopicState) -> int:
    if state.config.get("cleanup.policy") == "compact":
        return FOREVER_MS
    kept = int(state.config.get("retention.ms", 0))
    return FOREVER_MS if kept < 0 else kept


def _retention_text(retention_ms: int) -> str:
    return "-1" if retention_ms >= FOREVER_MS else str(retention_ms)

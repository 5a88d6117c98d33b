"""What a static member needs beside aiokafka: to end when replaced, and to lead when it is back.

A worker with a `member_id` keeps its partitions over a quick restart: the group knows it by that
name, and a process that joins under it takes the place of the one before. The broker tells the one
before, FENCED_INSTANCE_ID, but only if its heartbeat says the name, from version 3 on. aiokafka's
does not: it is told that its member is unknown, joins again under the name, and so two processes
with one name take the partitions from each other several times a second.

So the heartbeat of a static member is sent here with its name, and FENCED_INSTANCE_ID ends the
session. That may be the operator's mistake, to be repaired; but also a join of this very process
that it gave up, and that the broker got to late (KAFKA-20985). Such a ghost does not heartbeat: so
whoever was refused begins again only when it would be gone, and if the name is taken even then,
another process lives under it. A broker before Kafka 2.3 has no such heartbeat, and no such member.

And one that comes back under its name is given what the group dealt out before, however many
partitions there are by now. If it led, the broker names it as its former self, lest it deal again;
so it takes itself for a follower, and the group has no one who would see that partitions come. Such
a member compares here what was dealt out with what there is, and from then on watches as leaders
do; where these differ it joins once more, as itself, and the broker lets it deal.

Source: KIP-345; KIP-814, "Motivation"; Kafka protocol guide, Heartbeat API (key 12), version 3.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiokafka.errors as vendor
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import (
    HeartbeatRequest,
    HeartbeatRequest_v1,
    JoinGroupRequest,
    SyncGroupRequest,
)
from aiokafka.protocol.types import Int16, Int32, Schema, String

from stream.errors import BusUnavailable, ConfigError

from .kafka import KafkaSpec, answered

log = logging.getLogger(__name__)

FENCED_INSTANCE_ID: Final = 82
# What a broker may need beyond the times that it was given.
MARGIN_S: Final = 1.0
# A broker calls a static member by its name, a dash and a UUID.
UUID_CHARS: Final = 36


class _HeartbeatResponse_v3(Response):  # type: ignore[misc]  # noqa: N801  # named as its kin
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _HeartbeatRequest_v3(RequestStruct):  # type: ignore[misc]  # noqa: N801  # named as its kin
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse_v3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class NamedHeartbeat(Request[HeartbeatRequest_v1 | _HeartbeatRequest_v3]):  # type: ignore[misc]
    """A heartbeat that says which static member it is of."""

    API_KEY = 12

    def __init__(self, plain: HeartbeatRequest, name: str) -> None:
        self._plain = plain
        self._name = name

    def build(self, request_struct_class: type[Any]) -> Any:
        """Return the request in the highest version that the broker speaks."""
        plain = self._plain
        values = plain._group, plain._generation_id, plain._member_id
        if request_struct_class.API_VERSION < 3:
            return request_struct_class(*values)
        return request_struct_class(*values, self._name)


class StaticNames:
    """Names of this process that were refused, for whoever begins again under them."""

    def __init__(self) -> None:
        self._refused_at_s: dict[tuple[str, str], float] = {}

    def note(self, group: str, name: str) -> None:
        """Remember that the group has another member by a name. Mutates: self."""
        self._refused_at_s[group, name] = asyncio.get_running_loop().time()

    async def settle(self, client: AIOKafkaClient, spec: KafkaSpec) -> None:
        """Return when nobody else lives under the name, as far as it was refused. Mutates: self.

        Errors: ConfigError when somebody does; BusUnavailable.
        """
        at_s = self._refused_at_s.get((spec.group, spec.member_id))
        if at_s is None:
            return
        wait_s = max(spec.session_ms, spec.rebalance_ms) / 1_000 + MARGIN_S
        left_s = at_s + wait_s - asyncio.get_running_loop().time()
        log.warning("waits %.1f s to see who else is %s", max(0.0, left_s), spec.member_id)
        await asyncio.sleep(left_s)
        async with answered(f"ask who is in {spec.group}", spec.request_ms / 1_000):
            node = await client.coordinator_lookup(CoordinationType.GROUP, spec.group)
            members = await _members(client, node, spec.group)
        del self._refused_at_s[spec.group, spec.member_id]
        if any(_is_named(member_id, spec.member_id) for member_id, _ in members):
            raise ConfigError(
                f"another process joined the group {spec.group} as {spec.member_id} and took the"
                " partitions of this one",
                hint="give each worker a member_id of its own, or none",
            )


class StaticName:
    """The name of a consumer in its group: whether another process has it now, whether it leads."""

    def __init__(
        self, consumer: AIOKafkaConsumer, spec: KafkaSpec, topic: str, names: StaticNames
    ) -> None:
        self._name = spec.member_id
        self._group = spec.group
        self._topic = topic
        self._names = names
        self._request_s = spec.request_ms / 1_000
        self._is_taken = False
        self._led_before = False
        self._client = consumer._client
        self._coordinator = coordinator = consumer._coordinator
        self._send: Callable[[Any], Awaitable[Any]] = coordinator._send_req
        self._watching: asyncio.Task[None] | None = None
        coordinator._send_req = self._send_named

    async def _send_named(self, request: Any) -> Any:
        """Send what the client sends to its coordinator. Mutates: self."""
        if self._is_taken:
            # What the client then does on its own, to join again, must not reach the group.
            raise vendor.GroupCoordinatorNotAvailableError
        if isinstance(request, HeartbeatRequest):
            request = NamedHeartbeat(request, self._name)
        answer = await self._send(request)
        code = getattr(answer, "error_code", 0)
        if code == FENCED_INSTANCE_ID:
            log.error(
                "%s of member %s, generation %d, is answered: %s is another member by now",
                *(type(request).__name__, self._coordinator.member_id or "(new)"),
                *(self._coordinator.generation, self._name),
            )
            self._is_taken = True
            self._names.note(self._group, self._name)
            raise vendor.GroupCoordinatorNotAvailableError
        if isinstance(request, JoinGroupRequest):
            self._led_before = not code and self._is_former_self(answer)
        elif isinstance(request, SyncGroupRequest) and not code and self._led_before:
            self._led_before = False
            self.stop()
            self._watching = asyncio.create_task(self._watch())
        return answer

    def _is_former_self(self, joined: Any) -> bool:
        """Tell whether the leader that a group names has this name, and is not this member."""
        leader: str = joined.leader_id
        return leader != joined.member_id and _is_named(leader, self._name)

    async def _watch(self) -> None:
        """Let the client watch the topic as a leader does, from what the group has dealt out on."""
        coordinator = self._coordinator
        try:
            dealt = await self._dealt()
        except (BusUnavailable, ConfigError) as error:
            log.warning("joins once more, to be sure that every partition is dealt out: %s", error)
            coordinator.request_rejoin()
            return
        coordinator._group_subscription = {self._topic}
        coordinator._metadata_snapshot = {self._topic: dealt}
        coordinator._handle_metadata_update(self._client.cluster)

    async def _dealt(self) -> int:
        """Return how many partitions of the topic the members of the group have.

        Errors: BusUnavailable, ConfigError.
        """
        async with answered(f"ask what the members of {self._group} have", self._request_s):
            node = self._coordinator.coordinator_id
            if node is None:
                raise vendor.GroupCoordinatorNotAvailableError
            members = await _members(self._client, node, self._group)
            # While the group deals anew, its members have nothing.
            given = [ConsumerProtocol.ASSIGNMENT.decode(each) for _, each in members if each]
        return sum(
            len(partitions)
            for each in given
            for topic, partitions in each.assignment
            if topic == self._topic
        )

    def check(self) -> None:
        """Do nothing while the name is ours.

        Errors: BusUnavailable once the group has another member by it.
        """
        if self._is_taken:
            raise BusUnavailable(f"the group {self._group} has another member as {self._name}")

    def stop(self) -> None:
        """Look no further."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None


async def _members(client: AIOKafkaClient, node: int, group: str) -> list[tuple[str, bytes]]:
    """Return id and assignment of each member of a group. Errors: the client's."""
    answer = await client.send(node, DescribeGroupsRequest([group]))
    code, *_, members = answer.groups[0][:6]
    if code:
        raise vendor.for_code(code)(group)
    return [(each[0], each[4]) for each in members]


def _is_named(member_id: str, name: str) -> bool:
    return member_id[:-UUID_CHARS] == f"{name}-"

"""What a static member needs beside aiokafka: to end when replaced, and to lead when it is back.

A worker with a `member_id` keeps its partitions over a quick restart: the group knows it by that
name, and a process that joins under it takes the place of the one before. The broker tells the one
before, FENCED_INSTANCE_ID, but only if its heartbeat says the name, from version 3 on. aiokafka's
does not: it is told that its member is unknown, joins again under the name, and so two processes
with one name take the partitions from each other several times a second.

So the heartbeat of a static member is sent here with its name, and whatever of the coordinator
answers FENCED_INSTANCE_ID is the operator's mistake to repair. A broker before Kafka 2.3 has no
such heartbeat, and no such member.

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

from .kafka import answered

log = logging.getLogger(__name__)

FENCED_INSTANCE_ID: Final = 82
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


class StaticName:
    """The name of a consumer in its group: whether another process has it now, whether it leads."""

    def __init__(
        self, consumer: AIOKafkaConsumer, name: str, group: str, topic: str, request_s: float
    ) -> None:
        self._name = name
        self._group = group
        self._topic = topic
        self._request_s = request_s
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
        return leader != joined.member_id and leader[:-UUID_CHARS] == f"{self._name}-"

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
            answer = await self._client.send(node, DescribeGroupsRequest([self._group]))
            code, *_, members = answer.groups[0][:6]
            if code:
                raise vendor.for_code(code)(self._group)
            # While the group deals anew, its members have nothing.
            given = [ConsumerProtocol.ASSIGNMENT.decode(each[4]) for each in members if each[4]]
        return sum(
            len(partitions)
            for each in given
            for topic, partitions in each.assignment
            if topic == self._topic
        )

    def check(self) -> None:
        """Do nothing while the name is ours.

        Errors: ConfigError once another process has it.
        """
        if self._is_taken:
            raise ConfigError(
                f"another process joined the group {self._group} as {self._name} and took the"
                " partitions of this one",
                hint="give each worker a member_id of its own, or none",
            )

    def stop(self) -> None:
        """Look no further."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

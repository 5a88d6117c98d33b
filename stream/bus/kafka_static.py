"""A static member that was replaced ends, instead of taking its name back for ever.

A worker with a `member_id` keeps its partitions over a quick restart: the group knows it by that
name, and a process that joins under it takes the place of the one before. The broker tells the one
before, FENCED_INSTANCE_ID, but only if its heartbeat says the name, from version 3 on. aiokafka's
does not: it is told that its member is unknown, joins again under the name, and so two processes
with one name take the partitions from each other several times a second.

So the heartbeat of a static member is sent here with its name, and whatever of the coordinator
answers FENCED_INSTANCE_ID is the operator's mistake to repair. A broker before Kafka 2.3 has no
such heartbeat, and no such member.

Source: KIP-345; Kafka protocol guide, Heartbeat API (key 12), version 3.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiokafka.errors as vendor
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatRequest_v1
from aiokafka.protocol.types import Int16, Int32, Schema, String

from stream.errors import ConfigError

FENCED_INSTANCE_ID: Final = 82


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
    """The name of a consumer in its group, and whether another process has it now."""

    def __init__(self, consumer: AIOKafkaConsumer, name: str, group: str) -> None:
        self._name = name
        self._group = group
        self._is_taken = False
        coordinator = consumer._coordinator
        self._send: Callable[[Any], Awaitable[Any]] = coordinator._send_req
        coordinator._send_req = self._send_named

    async def _send_named(self, request: Any) -> Any:
        """Send what the client sends to its coordinator. Mutates: self."""
        if self._is_taken:
            # What the client then does on its own, to join again, must not reach the group.
            raise vendor.GroupCoordinatorNotAvailableError
        if isinstance(request, HeartbeatRequest):
            request = NamedHeartbeat(request, self._name)
        answer = await self._send(request)
        if getattr(answer, "error_code", 0) == FENCED_INSTANCE_ID:
            self._is_taken = True
            raise vendor.GroupCoordinatorNotAvailableError
        return answer

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

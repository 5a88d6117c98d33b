"""Topics of Kafka: create what is missing, tell what is there. What must be is in `topics`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import aiokafka.errors as vendor
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import DescribeConfigsRequest

from stream.errors import BusUnavailable, ConfigError

from . import topics
from .contract import TopicSpec, TopicState
from .kafka import REFUSALS, KafkaSpec, answered, ask_any, client_options, connected, stop_client
from .kafka_wire import TopicsRequest, topic_id

# A new topic reaches all brokers a moment after it is made.
LOOK_AGAIN_S: Final = 0.05
MISTAKES: Final = (
    vendor.InvalidTopicError,
    vendor.InvalidPartitionsError,
    vendor.InvalidReplicationFactorError,
    vendor.InvalidConfigurationError,
    vendor.InvalidRequestError,
    vendor.PolicyViolationError,
)
# Without a leader yet, but made.
YOUNG: Final = (vendor.LeaderNotAvailableError,)


class KafkaTopics:
    """Makes sure that topics are what they must be.

    Errors: BusUnavailable, ConfigError.
    """

    def __init__(self, spec: KafkaSpec) -> None:
        self._spec = spec
        self._request_s = spec.request_ms / 1_000
        self._admin: AIOKafkaAdminClient | None = None

    async def start(self) -> None:
        """Connect."""
        assert self._admin is None, "started twice"
        admin = AIOKafkaAdminClient(**client_options(self._spec))
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(stop_client, "an admin", admin)
            await connected("an admin", self._spec, admin)
            undo.pop_all()
        self._admin = admin

    async def ensure(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        """Create what is missing; return all states in the order of `specs`.

        Errors: ConfigError names the topic, the setting, what it is and what it must be.
        """
        return await topics.ensure(self, specs)

    async def create(self, specs: Sequence[tuple[TopicSpec, dict[str, str]]]) -> None:
        """Create topics with these settings; one that somebody else just created is fine."""
        wanted = [
            NewTopic(spec.name, spec.partitions, spec.replicas, topic_configs=settings)
            for spec, settings in specs
        ]
        async with answered("create topics", self._request_s):
            answer = await self._started().create_topics(wanted)
        for name, code, *message in answer.topic_errors:
            error = vendor.for_code(code)
            if error in REFUSALS or error in MISTAKES:
                raise ConfigError(
                    f"topic {name} cannot be created: {error.__name__} {message[0] or ''}",
                    hint="let `enforcer topics` create it as somebody who may, see `enforcer acl`",
                )
            if error not in (vendor.NoError, vendor.TopicAlreadyExistsError):
                raise BusUnavailable(f"create topic {name}: {error.__name__}")
        await self._await_leaders([spec.name for spec, _ in specs])

    async def _await_leaders(self, names: list[str]) -> None:
        async with answered("wait for new topics to have leaders", self._request_s):
            while True:
                found = {topic["topic"]: topic for topic in await self._ask(names)}
                if all(name in found and _is_led(found[name]) for name in names):
                    return
                await asyncio.sleep(LOOK_AGAIN_S)

    async def describe(self, names: Sequence[str]) -> list[TopicState]:
        """Return the states of the topics that exist."""
        if not names:
            return []
        async with answered("describe topics", self._request_s):
            found = [topic for topic in await self._ask(list(names)) if _exists(topic)]
            configs = await self._configs([topic["topic"] for topic in found])
        return [
            TopicState(
                name=topic["topic"],
                id=topic_id(topic),
                partitions=len(topic["partitions"]),
                replicas=min((len(p["replicas"]) for p in topic["partitions"]), default=0),
                config=configs[topic["topic"]] or {},
                is_config_hidden=configs[topic["topic"]] is None,
            )
            for topic in found
            if topic["topic"] in configs
        ]

    async def grow(self, name: str, partitions: int) -> None:
        """Let a topic have so many partitions, more than it has."""
        found = await self._count(name)
        topics.check_growth(name, found, partitions)
        if found < partitions:
            async with answered(f"add partitions to {name}", self._request_s):
                try:
                    await self._started().create_partitions({name: NewPartitions(partitions)})
                except vendor.InvalidPartitionsError as error:
                    # Somebody else may just have done it, or the answer of an attempt was lost.
                    if await self._count(name) != partitions:
                        raise ConfigError(f"topic {name} cannot grow: {error}") from error
                except MISTAKES as error:
                    raise ConfigError(
                        f"topic {name} cannot grow: {error}",
                        hint="ask who runs the broker: its create.topic.policy says what it allows",
                    ) from error
        async with answered(f"wait for {name} to have leaders", self._request_s):
            while True:
                states = await self._ask([name])
                if states and len(states[0]["partitions"]) >= partitions and _is_led(states[0]):
                    return
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _count(self, name: str) -> int:
        async with answered(f"look up topic {name}", self._request_s):
            found = [topic for topic in await self._ask([name]) if _exists(topic)]
        if not found:
            raise ConfigError(
                f"topic {name} does not exist", hint="`enforcer topics` creates what is missing"
            )
        return len(found[0]["partitions"])

    async def _ask(self, names: list[str]) -> list[dict[str, Any]]:
        answer = await ask_any(self._started()._client, TopicsRequest(names))
        asked: list[dict[str, Any]] = answer.to_object()["topics"]
        return asked

    async def _configs(self, names: list[str]) -> dict[str, dict[str, str] | None]:
        """Return the settings of topics that are there, None where we may not look at them."""
        configs: dict[str, dict[str, str] | None] = {}
        if not names:
            return configs
        request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, each, None) for each in names])
        answer = await ask_any(self._started()._client, request)
        for code, message, _, name, entries in answer.resources:
            error = vendor.for_code(code)
            if error is vendor.UnknownTopicOrPartitionError:
                continue
            if error not in (vendor.NoError, *REFUSALS):
                raise error(f"{name} {message or ''}")
            shown = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
            configs[name] = shown if error is vendor.NoError else None
        return configs

    async def stop(self) -> None:
        """Disconnect."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await stop_client("an admin", admin)

    def _started(self) -> AIOKafkaAdminClient:
        assert self._admin is not None, "not started, or stopped"
        return self._admin


def _exists(topic: dict[str, Any]) -> bool:
    error = vendor.for_code(topic["error_code"])
    if error is vendor.UnknownTopicOrPartitionError:
        return False
    if error is not vendor.NoError and error not in YOUNG:
        raise error(topic["topic"])
    return True


def _is_led(topic: dict[str, Any]) -> bool:
    return topic["error_code"] == 0 and all(
        part["error_code"] == 0 and part["leader"] >= 0 for part in topic["partitions"]
    )

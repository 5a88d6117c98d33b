"""Settings to doors, and the loop that verbs wait in; the one place that installs uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec
import uvloop

from stream.bus import KafkaPublisher, KafkaReader, KafkaSource, KafkaTopics, StaticNames
from stream.config import Config
from stream.errors import ConfigError
from stream.metrics import Merged, Metrics, MetricsServer
from stream.runtime import Doors, Keys, count_unstored_names
from stream.signing import Role, signer_of, trust_of
from stream.store import RedisStore

Result = TypeVar("Result")

# Threads that run kernels want the interpreter back for moments only; by default it is handed over
# every 5 ms, which is a third of what a kernel takes for a large batch.
SWITCH_S: Final = 0.0005


class Door(Protocol):
    """What is opened and closed."""

    async def start(self) -> Any:
        """Connect."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


AnyDoor = TypeVar("AnyDoor", bound=Door)


@contextlib.asynccontextmanager
async def opened(door: AnyDoor) -> AsyncIterator[AnyDoor]:
    """Have a door open for as long as the block lasts; closed too where it did not open."""
    try:
        await door.start()
        yield door
    finally:
        await door.stop()


def worker_doors(config: Config, metrics: Metrics) -> Doors:
    """Return the makers of a worker's doors."""
    names = StaticNames()
    return Doors(
        source=lambda: KafkaSource(config.kafka, config.topics.requests, names),
        publisher=lambda: KafkaPublisher(config.kafka, heals=False),
        reader=lambda: KafkaReader(config.kafka),
        library=lambda: KafkaReader(config.kafka),
        admin=lambda: KafkaTopics(config.kafka),
        store=lambda: RedisStore(
            config.redis, metrics.count_store_retry, partial(count_unstored_names, metrics)
        ),
        zone=lambda zone: KafkaSource(
            msgspec.structs.replace(config.kafka, group=zone_group(config, zone)),
            config.topics.zone_topic(zone),
            names,
        ),
    )


def zone_group(config: Config, zone: str) -> str:
    """Return the group of workers that reads a zone's topic."""
    return f"{config.kafka.group}.zone.{zone}"


def metrics_server(
    config: Config,
    metrics: Metrics | Merged,
    ready: Callable[[], list[str]],
    healthy: Callable[[], bool],
    notes: Callable[[], list[str]] = list,
) -> MetricsServer:
    """Return the server of metrics, not started. Errors: ConfigError when its port is taken."""
    address = config.metrics.host, config.metrics.port
    try:
        return MetricsServer(metrics, address, ready, healthy, notes)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be served at {address[0]}:{address[1]}: {error.strerror}",
            hint="name another host:port in ENFORCER_METRICS; port 0 takes a free one",
        ) from error


def keys_of(config: Config, role: Role) -> Keys:
    """Return who signs in a role, and who is believed, as the settings say.

    Errors: ConfigError.
    """
    return _keys_on(config, role, config.topics.enforcement)


def operator_keys(config: Config, topic: str) -> Keys:
    """Return who signs what an operator says on a topic, and who is believed there.

    Errors: ConfigError, also when nothing could be believed that this machine writes.
    """
    keys = _keys_on(config, "operator", topic)
    if keys.trust is not None and keys.signer is None:
        raise ConfigError(
            "this installation believes keys only, and there is none to sign with",
            hint="name one in ENFORCER_OPERATOR_KEY_FILE; `enforcer keys generate` makes it",
        )
    return keys


def _keys_on(config: Config, role: Role, topic: str) -> Keys:
    signer = signer_of(config.signing, topic, role, int(time.time()))
    return Keys(signer, trust_of(config.signing, topic))


def settle() -> None:
    """Prepare this process for a long life with threads, once everything is loaded.

    What is there by now stays until the end, so the garbage collector need not walk it each time.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return what it returns.

    SIGINT and SIGTERM cancel it and leave as KeyboardInterrupt, unless it takes them over.
    Errors: what the work raises; of a group the first of its errors, since a person reads one.
    """
    ended: list[int] = []

    async def watched() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(number: int) -> None:
            ended.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end, number)
        return await work

    # The loop leaves the default actions behind, not what was there before.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with contextlib.ExitStack() as stack:
        for number, handler in before.items():
            stack.callback(signal.signal, number, handler)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        try:
            return runner.run(watched())
        except asyncio.CancelledError:
            if ended:
                raise KeyboardInterrupt from None
            raise
        except BaseExceptionGroup as group:
            raise innermost(group) from group


def innermost(error: BaseException) -> BaseException:
    """Return the first error inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

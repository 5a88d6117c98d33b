"""What all Kafka doors share: settings, connections, errors, and looking a topic up.

aiokafka's names stay in the files called kafka*.py. Its errors leave as `BusUnavailable` (try
again) or `ConfigError` (somebody must change something), each wait has an end, and a topic is never
created by asking for it, which is what brokers with auto.create.topics.enable do otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Annotated, Any, Final

import aiokafka.errors as vendor
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest

from stream.errors import BusUnavailable, ConfigError, EnforcerError

from .contract import Bounds
from .kafka_quiet import quieten
from .kafka_security import (
    NOT_PROVEN,
    KafkaSecurity,
    explain,
    reach,
    refusal,
    security_options,
)

log = logging.getLogger(__name__)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=249)]
Milliseconds = Annotated[int, msgspec.Meta(ge=10, le=600_000)]
Brokers = Annotated[
    str,
    msgspec.Meta(max_length=2_048, pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$"),
]
Bytes = Annotated[int, msgspec.Meta(ge=1_024, le=1_073_741_824)]

REFUSALS: Final = (
    vendor.TopicAuthorizationFailedError,
    vendor.GroupAuthorizationFailedError,
    vendor.ClusterAuthorizationFailedError,
    vendor.TransactionalIdAuthorizationFailed,
)
MISFITS: Final = (
    vendor.InvalidSessionTimeoutError,
    vendor.InconsistentGroupProtocolError,
    vendor.InvalidGroupIdError,
)
# What a broker that is gone, or vanished, is known by; and how long another than the last is waited
# for.
AWAY: Final = (
    vendor.KafkaConnectionError,
    vendor.NodeNotReadyError,
    vendor.RequestTimedOutError,
    OSError,
)
OTHER_S: Final = 3.0
# So soon a client learns of a topic that was made anew, or has more partitions, without an error.
METADATA_AGE_MS: Final = 5_000
# Within it a client flushes and disconnects; with the broker away nothing that waits longer helps:
# what was not acknowledged is derived and sent again from the checkpoint.
STOP_GRACE_S: Final = 5.0


class KafkaSpec(
    KafkaSecurity, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind",
    tag="kafka",
):  # fmt: skip
    """How to reach Kafka, how connections are secured, and how patient to be.

    `bootstrap`: brokers to ask first, `host:port` with commas between. `member_id`: the static id
    of this worker in the group, so that a quick restart moves no partition; empty for none.
    `request_ms`: one answer of a broker. `delivery_ms`: one record acknowledged. A member that
    does not heartbeat for `session_ms` is out; one that does not let go of its partitions within
    `rebalance_ms` too. `fetch_wait_ms`: how long a broker that has nothing new keeps a request; it
    answers at once when something comes, so this bounds only how long a partition that joins an
    idle connection waits for its turn.
    """

    bootstrap: Brokers
    client_id: Name = "stream-enforcer"
    group: Name = "stream-enforcer"
    member_id: Annotated[str, msgspec.Meta(max_length=249)] = ""
    request_ms: Milliseconds = 20_000
    delivery_ms: Milliseconds = 30_000
    session_ms: Milliseconds = 6_000
    heartbeat_ms: Milliseconds = 300
    rebalance_ms: Milliseconds = 10_000
    fetch_wait_ms: Milliseconds = 100
    fetch_bytes_max: Bytes = 50 * 1_048_576
    partition_fetch_bytes_max: Bytes = 4 * 1_048_576
    linger_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 2
    batch_bytes: Bytes = 131_072
    record_bytes_max: Bytes = 1_048_576

    def __post_init__(self) -> None:
        self.check_security()
        # The client waits for the group no longer than for any other answer.
        if self.rebalance_ms >= self.request_ms:
            raise ValueError("rebalance_ms must be below request_ms")
        if self.heartbeat_ms * 3 > self.session_ms:
            raise ValueError("session_ms must hold at least three heartbeat_ms")
        if self.fetch_wait_ms >= self.request_ms:
            raise ValueError("fetch_wait_ms must be below request_ms")


def client_options(spec: KafkaSpec) -> dict[str, Any]:
    """Return what each of aiokafka's clients is made with, and quieten what it will log.

    What it holds is not to be shown. Errors: ConfigError when a secret or a certificate cannot be
    read.
    """
    quieten()
    return {
        "bootstrap_servers": spec.bootstrap,
        "client_id": spec.client_id,
        "request_timeout_ms": spec.request_ms,
        "retry_backoff_ms": 100,
        "metadata_max_age_ms": METADATA_AGE_MS,
        **security_options(spec),
    }


def reader_options(spec: KafkaSpec) -> dict[str, Any]:
    """Return what each consumer is made with, in a group or not.

    An offset that the log does not hold is an error for us to handle, never a silent jump.
    """
    return client_options(spec) | {
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "fetch_max_wait_ms": spec.fetch_wait_ms,
        "fetch_max_bytes": spec.fetch_bytes_max,
        "max_partition_fetch_bytes": spec.partition_fetch_bytes_max,
    }


def translated(error: BaseException, what: str) -> EnforcerError:
    """Return our error for one of the client's."""
    refused = refusal(error, what)
    if refused is not None:
        return refused
    if isinstance(error, vendor.ClusterAuthorizationFailedError):
        return ConfigError(
            f"{what}: Kafka refuses ({type(error).__name__} {error})",
            hint="this principal may write to no topic (a broker before 2.8 also wants"
            " IdempotentWrite on the cluster), see `enforcer acl`",
        )
    if isinstance(error, REFUSALS):
        return ConfigError(
            f"{what}: Kafka refuses ({type(error).__name__} {error})",
            hint="give this principal the right at the broker, see `enforcer acl`",
        )
    if isinstance(error, MISFITS):
        return ConfigError(
            f"{what}: the group does not take us ({type(error).__name__} {error})",
            hint="session_ms must lie in the broker's group.min/max.session.timeout.ms, and the"
            " group's other members must be workers of ours",
        )
    if isinstance(error, vendor.UnsupportedCodecError):
        return ConfigError(
            f"{what}: a producer compresses with a codec that is not installed ({error})",
            hint="pip install 'aiokafka[all]', or let producers use gzip or none",
        )
    if isinstance(error, vendor.MessageSizeTooLargeError | vendor.RecordListTooLargeError):
        return ConfigError(
            f"{what}: the record is too large ({error})",
            hint="raise record_bytes_max and the topic's max.message.bytes, or send less",
        )
    if isinstance(error, TimeoutError):
        return BusUnavailable(f"{what}: Kafka did not answer in time")
    return BusUnavailable(f"{what}: {type(error).__name__} {error}")


@contextlib.asynccontextmanager
async def answered(what: str, within_s: float) -> AsyncIterator[None]:
    """Bound what is awaited inside, and let only our errors out.

    Errors: BusUnavailable, ConfigError; `what` says what was being done.
    """
    try:
        async with asyncio.timeout(within_s):
            yield
    except (vendor.KafkaError, vendor.ConsumerStoppedError, OSError) as error:
        # OSError includes TimeoutError.
        raise translated(error, what) from error


async def connected(what: str, spec: KafkaSpec, vendors: Any) -> None:
    """Start a client, and have it reach a broker, no longer than one answer may take.

    Cut short while it asks a first broker for the others, aiokafka would forget that connection,
    and it stayed open: so who is cancelled here first lets it come to an end, for a short while.
    Errors: ConfigError when we are not let in, or cannot trust who answers; BusUnavailable.
    """
    client = vendors.client if isinstance(vendors, AIOKafkaProducer) else vendors._client
    doing = f"connect {what}"
    try:
        await _started(doing, vendors.start(), spec.request_ms / 1_000)
        await reach(client, spec, doing)
    except BusUnavailable as error:
        if spec.security == "plaintext":
            raise
        await explain(client, doing)
        raise BusUnavailable(
            error.message, hint=f"if the brokers are up: does the listener speak {spec.security}?"
        ) from error
    except NOT_PROVEN:
        # The client stumbled over the answers of who is there, and lets that out as it is.
        await explain(client, doing)
        raise


async def _started(doing: str, start: Coroutine[Any, Any, None], within_s: float) -> None:
    task = asyncio.ensure_future(start)
    try:
        async with answered(doing, within_s):
            await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task}, timeout=STOP_GRACE_S)
            task.cancel()
        task.add_done_callback(_heard)


def _heard(task: asyncio.Future[None]) -> None:
    """Let a task's error be known as heard."""
    if not task.cancelled():
        task.exception()


async def ask_any(client: AIOKafkaClient, request: Any) -> Any:
    """Return what any broker answers to a request that all can answer.

    One that is gone stays among the known for a while, and one that vanished never answers: so
    each gets a short while and the next is asked, the last as long as the caller has.
    Errors: those of aiokafka.
    """
    brokers = [each.nodeId for each in client.cluster.brokers()]
    random.shuffle(brokers)
    for broker in brokers[:-1]:
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(OTHER_S):
                return await client.send(broker, request)
    return await client.send(brokers[-1] if brokers else client.get_random_node(), request)


async def count_partitions(client: AIOKafkaClient, topic: str, within_s: float) -> int:
    """Return how many partitions a topic has, without creating it.

    Errors: ConfigError when it does not exist, BusUnavailable.
    """
    async with answered(f"look up topic {topic}", within_s):
        request = MetadataRequest([topic], allow_auto_topic_creation=False)
        answer = await ask_any(client, request)
    for code, name, _, partitions in answer.topics:
        if name == topic and code == 0:
            return len(partitions)
        error = vendor.for_code(code)
        if error in REFUSALS:
            raise translated(error(topic), f"look up topic {topic}")
        if error not in (vendor.UnknownTopicOrPartitionError, vendor.InvalidTopicError):
            raise BusUnavailable(f"look up topic {topic}: {error.__name__}")
    raise ConfigError(
        f"topic {topic} does not exist", hint="`enforcer topics` creates what is missing"
    )


async def log_bounds(
    consumer: AIOKafkaConsumer, at: Sequence[TopicPartition], within_s: float
) -> dict[int, Bounds]:
    """Return what the log holds of partitions of one topic.

    Both ends are asked for side by side: to a broker that is far away that is one journey.
    Errors: BusUnavailable, ConfigError.
    """
    async with answered(f"ask for the bounds of {at[0].topic if at else 'nothing'}", within_s):
        starts, ends = await asyncio.gather(
            consumer.beginning_offsets(at), consumer.end_offsets(at)
        )
    return {each.partition: Bounds(starts[each], ends[each]) for each in at}


async def stop_client(what: str, vendors: Any, within_s: float = STOP_GRACE_S) -> None:
    """Stop one of aiokafka's clients, no longer than that; what goes wrong is only logged.

    With a broker away, its own stop may wait for ever, or end as though it had been cancelled, with
    connections left open: then they are closed here.
    """
    stop = vendors.close if isinstance(vendors, AIOKafkaAdminClient) else vendors.stop
    if not await ended(what, stop(), within_s):
        await ended(f"{what}'s connections", vendors._client.close(), STOP_GRACE_S)


async def ended(what: str, stop: Coroutine[Any, Any, None], within_s: float) -> bool:
    """Await the end of a client, no longer than that; tell whether it came in good order."""
    task = asyncio.ensure_future(stop)
    try:
        await asyncio.wait({task}, timeout=within_s)
    finally:
        task.cancel()
    if task.done() and not task.cancelled() and task.exception() is None:
        return True
    log.warning("%s did not stop in good order", what)
    return False

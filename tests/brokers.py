"""Kafka clusters of a test's own: one broker or three, each with a second door behind a proxy.

Each node is broker and controller. Besides its plain listener it has one named FAULTY, which says
that it is at the port of a proxy: whoever is sent there by the bootstrap list stays behind it.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stream.local.folder import HOST
from stream.local.jars import cache_folder, cache_jars, fetch_by_jgo, locked_jars
from stream.local.kafka import (
    _FIXED_PROPERTIES,
    _LOG4J2_PROPERTIES,
    java_binary,
    java_command,
    new_cluster_id,
    render_properties,
)
from stream.local.program import Program, ProgramSpec
from stream.local.wire import _METADATA, _METADATA_VERSION, _ask_kafka, parse_metadata
from tests.ports import free_ports
from tests.proxy import Proxy, between

READY_WITHIN_S = 120.0
HEAP_MB = 256


class Broker:
    """One node of a cluster: its program, its ports, the proxy before its second door."""

    def __init__(self, number: int, folder: Path, ports: tuple[int, int, int], proxy: Proxy):
        self.number = number
        self.folder = folder
        self.plain, self.faulty, self.controller = ports
        self.proxy = proxy
        self.program: Program

    def launch(self) -> None:
        """Start it, and return at once."""
        self.program.launch()

    def kill(self) -> None:
        """End it as a crash would."""
        self.program.kill()

    def stop(self) -> None:
        """End it in good order."""
        self.program.stop()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        pid = self.program.server_pid()
        assert pid is not None
        os.kill(pid, number)

    def limit_files(self, size_bytes: int) -> None:
        """Let no file of it grow beyond a size: what a full disk is to whoever writes."""
        pid = self.program.server_pid()
        assert pid is not None
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))

    def has_ended(self) -> bool:
        """Tell whether it ended by itself."""
        keeper = self.program._keeper
        return keeper is None or keeper.poll() is not None

    def settings(self, voters: str, count: int) -> dict[str, str]:
        """Its configuration."""
        copies = {name: str(min(3, count)) for name in _FIXED_PROPERTIES if "replication" in name}
        in_sync = {name: str(min(2, count)) for name in _FIXED_PROPERTIES if "min.isr" in name}
        return {
            **_FIXED_PROPERTIES, **copies, **in_sync,
            "node.id": str(self.number),
            "min.insync.replicas": str(min(2, count)),
            "listener.security.protocol.map":
                "PLAINTEXT:PLAINTEXT,FAULTY:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": f"PLAINTEXT://{HOST}:{self.plain},FAULTY://{HOST}:{self.faulty},"
            f"CONTROLLER://{HOST}:{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.plain},"
            f"FAULTY://{HOST}:{self.proxy.port}",
            "controller.quorum.voters": voters,
            "replica.lag.time.max.ms": "3000",
            # A story reads at its end every command that it ever caused: none is compacted away.
            "log.cleaner.min.compaction.lag.ms": str(24 * 3_600_000),
            "controlled.shutdown.retry.backoff.ms": "200",
            "log.dirs": "data",
        }  # fmt: skip


class Cluster:
    """Brokers that know each other."""

    def __init__(self, brokers: list[Broker], cluster_id: str) -> None:
        self.brokers = brokers
        self.cluster_id = cluster_id

    @property
    def plain(self) -> str:
        """The bootstrap list for whoever must see no fault but the brokers' own."""
        return ",".join(f"{HOST}:{each.plain}" for each in self.brokers)

    @property
    def faulty(self) -> str:
        """The bootstrap list for whoever is behind the proxies."""
        return ",".join(f"{HOST}:{each.proxy.port}" for each in self.brokers)

    def await_ready(self, *brokers: Broker) -> None:
        """Return when each of these answers and names all of them as living."""
        asked = list(brokers) or self.brokers
        for broker in asked:
            wanted = {each.plain for each in asked}
            broker.program.await_ready(
                lambda _, broker=broker, wanted=wanted: (
                    wanted <= living(broker.plain, self.cluster_id)
                ),
                within_s=READY_WITHIN_S,
            )


def living(port: int, cluster_id: str) -> set[int]:
    """The ports of the brokers that one of them counts as living; none when it does not answer."""
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as connection:
            answer = _ask_kafka(connection, _METADATA, _METADATA_VERSION, bytes(5))
        found, ports = parse_metadata(answer)
    except (OSError, ValueError):
        return set()
    return ports if found == cluster_id else set()


@contextmanager
def running_cluster(folder: Path, count: int = 1) -> Iterator[Cluster]:
    """A cluster that is ready, with a proxy before each of its brokers; gone after the block."""
    java = java_binary()
    assert java is not None, "the extra `local` is not installed"
    jars, cache = locked_jars(), cache_folder(os.environ)
    cache_jars(jars, cache, fetch_by_jgo, lambda _: None)
    command = java_command(java, tuple(cache / jar.file_name for jar in jars), HEAP_MB)
    cluster_id = new_cluster_id()
    with ExitStack() as undo:
        ports = free_ports(3 * count)
        brokers = []
        for place in range(count):
            mine = (ports[3 * place], ports[3 * place + 1], ports[3 * place + 2])
            proxy = undo.enter_context(between(mine[1]))
            brokers.append(Broker(place + 1, folder / f"broker-{place + 1}", mine, proxy))
        voters = ",".join(f"{each.number}@{HOST}:{each.controller}" for each in brokers)
        formatters = [_prepare(each, command, voters, (cluster_id, count)) for each in brokers]
        for each in formatters:
            undo.callback(each.stop)
            each.launch()
        for each in formatters:
            each.await_end(within_s=READY_WITHIN_S)
        for each in brokers:
            undo.callback(each.stop)
            each.launch()
        cluster = Cluster(brokers, cluster_id)
        cluster.await_ready()
        yield cluster
        for each in brokers:
            # A cluster that is not needed any more need not end in good order.
            if not each.has_ended():
                each.signal(signal.SIGCONT)
            each.kill()


def _prepare(
    broker: Broker, command: tuple[str, ...], voters: str, cluster: tuple[str, int]
) -> Program:
    """Write a broker's files and make its program; return the program that formats its storage."""
    cluster_id, count = cluster
    folder = broker.folder
    (folder / "tmp").mkdir(parents=True)
    settings = render_properties(broker.settings(voters, count))
    (folder / "server.properties").write_text(settings)
    (folder / "log4j2.properties").write_text(render_properties(_LOG4J2_PROPERTIES))
    java = (command[0], f"-Djava.io.tmpdir={folder / 'tmp'}", *command[1:])
    file = str(folder / "server.properties")
    broker.program = Program(
        ProgramSpec(
            name=f"Kafka {broker.number}", command=(*java, "kafka.Kafka", file), folder=folder,
            stop_within_s=20.0, logs=("kafka.log",),
        )
    )  # fmt: skip
    return Program(
        ProgramSpec(
            name="Kafka's formatting",
            command=(
                *java, "kafka.tools.StorageTool", "format",
                "--cluster-id", cluster_id, "--config", file,
            ),
            folder=folder, stop_within_s=20.0, output="format.log", pid_file="format.pid",
        )
    )  # fmt: skip

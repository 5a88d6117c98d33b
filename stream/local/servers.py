"""Kafka and Valkey of one folder, together: start, stop, and the faults that tests want.

Order of a start: hold the folder (nobody else may touch what follows), end leftovers (they hold the
ports and the files), fetch, choose ports, format, launch both, wait for both. Whatever fails on the
way ends what was launched before the error leaves.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Self

import msgspec

from stream.errors import ConfigError

from .folder import HOST, Ports, choose_ports, hold
from .jars import Fetch, cache_folder, cache_jars, extra_missing, fetch_by_jgo, locked_jars
from .kafka import Adjust, KafkaNode, java_binary, java_command
from .valkey import ValkeyServer, valkey_binary
from .wire import is_kafka_ready, is_valkey_ready

TRIES_MAX: Final = 4
_TAKEN: Final = "Address already in use"  # in the last words of both
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(ge=1, le=600)]


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two servers are: a bootstrap list for Kafka, a URL for Redis."""

    kafka: str
    redis: str


class LocalSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind",
    tag="local",
):  # fmt: skip
    """Settings of the servers of one folder; port 0 means last time's port, else any free one.

    A broker that `is_for_load` starts more slowly, and is faster under load.
    """

    kafka_port: Port = 0
    redis_port: Port = 0
    heap_mb: Annotated[int, msgspec.Meta(ge=128, le=65536)] = 512
    durable: bool = True
    is_for_load: bool = False
    start_within_s: Seconds = 60.0
    stop_within_s: Seconds = 15.0


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What a started pair consists of."""

    kafka: KafkaNode
    valkey: ValkeyServer
    ports: Ports


class LocalServers:
    """A real Kafka and a real Valkey that live in a folder, on the loopback address.

    Data stays in the folder over stop and start. The servers die with this process, however it
    dies. `adjust` may change the broker's settings, for one with more listeners than the plain
    one on the loopback address; `archive` is for `ahead`. Blocking; not for two threads at once.
    """

    def __init__(
        self,
        folder: Path,
        spec: LocalSpec | None = None,
        *,
        on_progress: Callable[[str], None] = lambda line: None,
        fetch: Fetch = fetch_by_jgo,
        adjust: Adjust = lambda settings: settings,
        archive: Path | None = None,
    ) -> None:
        self._folder = folder.expanduser().resolve()
        self._spec = spec or LocalSpec()
        self._on_progress = on_progress
        self._fetch = fetch
        self._adjust = adjust
        self._archive = archive
        self._pair: _Pair | None = None
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def addresses(self) -> Addresses:
        """Where the servers are, once started."""
        ports = self._started().ports
        return Addresses(kafka=f"{HOST}:{ports.kafka}", redis=f"redis://{HOST}:{ports.redis}/0")

    def start(self) -> Addresses:
        """Have both servers ready for work; return where they are.

        Errors: ConfigError, with what to do, for a missing extra, a failed download, a folder or
        port in use, a server that does not start; then nothing is left running.
        """
        assert self._pair is None, "the servers are started"
        with contextlib.ExitStack() as undo:
            undo.enter_context(hold(self._folder))
            kafka, valkey = self._programs()
            self._end_leftovers(kafka, valkey)
            undo.callback(kafka.server.stop)
            undo.callback(valkey.server.stop)
            pair = self._up(kafka, valkey)
            self._undo = undo.pop_all()
        self._pair = pair
        self._on_progress(f"ready: Kafka {self.addresses.kafka}, Valkey {self.addresses.redis}")
        return self.addresses

    def stop(self) -> None:
        """End both servers in good order, by force when their time is over; twice does no harm."""
        self._pair = None
        self._undo.close()

    def check_alive(self) -> None:
        """Do nothing while both servers run.

        Errors: ConfigError that names the server which ended by itself, with its last lines.
        """
        pair = self._started()
        pair.kafka.server.check_alive()
        pair.valkey.server.check_alive()

    def kill_kafka(self) -> None:
        """Kill Kafka as a crash would; return when it is gone."""
        self._started().kafka.server.kill()

    def kill_redis(self) -> None:
        """Kill Valkey as a crash would; return when it is gone."""
        self._started().valkey.server.kill()

    def restart_kafka(self) -> None:
        """Have Kafka ready again on the same port, stopped in good order first if it runs."""
        pair = self._started()
        pair.kafka.server.stop()
        pair.kafka.server.launch()
        self._await_kafka(pair)

    def restart_redis(self) -> None:
        """Have Valkey ready again on the same port, stopped in good order first if it runs."""
        pair = self._started()
        pair.valkey.server.stop()
        pair.valkey.server.launch()
        self._await_valkey(pair)

    def _started(self) -> _Pair:
        assert self._pair is not None, "the servers are not started"
        return self._pair

    def _programs(self) -> tuple[KafkaNode, ValkeyServer]:
        """Return both servers, not launched, with all that they need on this machine."""
        java, binary = java_binary(), valkey_binary()
        if java is None or binary is None:
            raise extra_missing()
        jars, cache = locked_jars(), cache_folder(os.environ)
        cache_jars(jars, cache, self._fetch, self._on_progress)
        command = java_command(
            java,
            tuple(cache / jar.file_name for jar in jars),
            self._spec.heap_mb,
            is_for_load=self._spec.is_for_load,
        )
        stop_within_s = self._spec.stop_within_s
        return (
            KafkaNode(
                self._folder / "kafka",
                command,
                stop_within_s=stop_within_s,
                adjust=self._adjust,
                archive=self._archive,
            ),
            ValkeyServer(self._folder / "valkey", binary, stop_within_s=stop_within_s),
        )

    def _end_leftovers(self, kafka: KafkaNode, valkey: ValkeyServer) -> None:
        """End servers that a crashed run of this folder left."""
        within_s = self._spec.stop_within_s
        ended = kafka.end_leftovers(within_s=within_s)
        if valkey.server.end_leftover(within_s=within_s) or ended:
            self._on_progress("ended servers that an earlier run had left")

    def _up(self, kafka: KafkaNode, valkey: ValkeyServer) -> _Pair:
        """Have both up on ports that are free. Errors: ConfigError."""
        turn = 1
        while True:
            ports = choose_ports(
                self._folder / "ports.json",
                kafka_port=self._spec.kafka_port,
                redis_port=self._spec.redis_port,
            )
            pair = _Pair(kafka=kafka, valkey=valkey, ports=ports)
            self._launch(pair)
            try:
                self._await_valkey(pair)
                self._await_kafka(pair)
                return pair
            except ConfigError as error:
                # From our look at a port until its server listens it is anybody's.
                if _TAKEN not in error.message or turn == TRIES_MAX:
                    raise
            kafka.server.stop()
            valkey.server.stop()
            self._on_progress("another program has taken a port meanwhile, trying others")
            turn += 1

    def _launch(self, pair: _Pair) -> None:
        """Write the files, format new storage, launch both servers."""
        pair.kafka.configure(pair.ports)
        pair.valkey.configure(pair.ports, durable=self._spec.durable)
        self._on_progress("starting Kafka and Valkey")
        pair.valkey.server.launch()
        pair.kafka.format_if_new()
        pair.kafka.server.launch()

    def _await_kafka(self, pair: _Pair) -> None:
        cluster_id = pair.kafka.cluster_id()
        pair.kafka.server.await_ready(
            lambda _: is_kafka_ready(pair.ports.kafka, cluster_id),
            within_s=self._spec.start_within_s,
        )

    def _await_valkey(self, pair: _Pair) -> None:
        pair.valkey.server.await_ready(
            lambda pid: is_valkey_ready(pair.ports.redis, pid),
            within_s=self._spec.start_within_s,
        )

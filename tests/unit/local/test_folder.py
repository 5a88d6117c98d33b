"""The folder of the local servers: one holder, and ports that come back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from stream.errors import ConfigError
from stream.local.folder import HOST, Ports, choose_ports, hold, is_free

# Holds the folder, and has a child that ends only with its input.
HOLDER = """
import os, pathlib, sys
from stream.local.folder import hold
with hold(pathlib.Path(sys.argv[1])):
    if os.fork() == 0:
        print("forked", flush=True)
        sys.stdin.read()
        print("child ends", flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def choose(file: Path, *, kafka_port: int = 0, redis_port: int = 0) -> Ports:
    return choose_ports(file, kafka_port=kafka_port, redis_port=redis_port)


def test_a_second_holder_is_told_who_holds(tmp_path: Path) -> None:
    """Two `up` on one folder: the second ends with the process number of the first."""
    with hold(tmp_path / "f"), pytest.raises(ConfigError, match=f"process {os.getpid()} "):
        hold(tmp_path / "f").__enter__()
    with hold(tmp_path / "f"):
        pass


def test_a_forked_child_does_not_keep_the_folder(tmp_path: Path) -> None:
    """A child that outlives a holder which was killed has let go of the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"forked\n"
    with pytest.raises(ConfigError):
        hold(tmp_path).__enter__()
    holder.kill()
    holder.wait()
    with hold(tmp_path):
        pass
    # The child still lives: it holds the other end of this pipe.
    assert holder.communicate()[0] == b"child ends\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is the operator's to move."""
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match=f"{tmp_path}/f/g cannot be written"):
        hold(tmp_path / "f" / "g").__enter__()


def test_ports_are_free_and_different(file: Path) -> None:
    """Three ports, none twice, each free to listen on."""
    ports = choose(file)
    numbers = set(msgspec.structs.astuple(ports))
    assert len(numbers) == 3
    assert all(is_free(number) for number in numbers)


def test_ports_come_back(file: Path) -> None:
    """The next start has the ports of the last one."""
    assert choose(file) == choose(file)


def test_only_the_port_that_is_taken_changes(file: Path) -> None:
    """A remembered port that is in use is replaced, the others stay."""
    first = choose(file)
    with socket.create_server((HOST, first.redis)):
        second = choose(file)
    assert second.redis != first.redis
    assert (second.kafka, second.controller) == (first.kafka, first.controller)


def test_a_port_with_closed_connections_only_is_free() -> None:
    """The kernel remembers a closed connection for a minute; a restart need not wait for it."""
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((HOST, port)):
            server.accept()[0].close()
        assert not is_free(port)
    assert is_free(port)


def test_a_named_port_wins_and_is_remembered(file: Path) -> None:
    """A port by number is used although another was remembered."""
    last = choose(file)
    named = choose(file.with_name("other")).kafka
    assert choose(file, kafka_port=named).kafka == named != last.kafka
    assert choose(file).kafka == named


def test_a_named_port_in_use_is_an_error(file: Path) -> None:
    """Nobody gets another port than the one that was asked for."""
    with socket.create_server((HOST, 0)) as other:
        number = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {number} for Redis is in use"):
            choose(file, redis_port=number)
    with pytest.raises(ConfigError, match="is in use"):
        choose(file, kafka_port=number, redis_port=number)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"kafka": 1}', b'{"kafka":-1,"controller":99999,"redis":0}']
)
def test_a_torn_port_file_is_forgotten(file: Path, content: bytes) -> None:
    """What a crash left of the file costs the ports, not the start."""
    file.write_bytes(content)
    assert choose(file) == choose(file)

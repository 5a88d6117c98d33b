"""The folder of one pair of servers: one holder at a time, and the ports it used last.

The lock is an flock, so the kernel drops it with its holder and no crash leaves it taken; the pid
inside is for the message only. An flock is inherited over fork, and a forked child that outlives
its parent would keep the folder for itself: so children let go of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from stream.errors import ConfigError

HOST = "127.0.0.1"
# Below the range that Linux (32768) and macOS (49152) hand to outgoing connections: a port taken
# from there could be in use when the server comes back, and a client that retries a dead server on
# the same machine could connect to itself.
_PORT_FIRST, _PORT_END = 20_000, 32_000
_PORT_TRIES_MAX = 200

_held: set[int] = set()


def _let_go_in_child() -> None:
    """Close the descriptors of locks that this process, a forked child, does not hold."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of one folder's servers, all on the loopback address."""

    kafka: int
    controller: int
    redis: int


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Be the only holder of the folder, made if missing, for as long as the block lasts.

    Errors: ConfigError when another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"the folder {folder} cannot be written ({error.strerror})",
            hint="name a folder of your own",
        ) from error
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace") or "unknown"
            raise ConfigError(
                f"the servers of {folder} are already run by process {holder}",
                hint="use those, stop that process, or name another folder",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        if descriptor in _held:  # Not in a forked child that unwinds this block.
            _held.remove(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def choose_ports(file: Path, *, kafka_port: int, redis_port: int) -> Ports:
    """Return three free ports, and write them down for the next start.

    A number other than 0 is used as it is; else the port of last time if it is still free; else a
    free one.

    Errors: ConfigError when a port that was asked for is in use.
    """
    last = _last_ports(file)
    kafka = _choose("Kafka", kafka_port, last.kafka, taken=set())
    redis = _choose("Redis", redis_port, last.redis, taken={kafka})
    controller = _choose("the controller", 0, last.controller, taken={kafka, redis})
    ports = Ports(kafka=kafka, controller=controller, redis=redis)
    write_whole(file, msgspec.json.encode(ports))
    return ports


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        # As both servers do: a port of which only closed connections remain is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def write_whole(file: Path, content: bytes) -> None:
    """Write the file so that a crash leaves the old content or the new, never a part."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)


def _last_ports(file: Path) -> Ports:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Ports)
    except (FileNotFoundError, msgspec.DecodeError):
        return Ports(kafka=0, controller=0, redis=0)


def _choose(whose: str, wanted: int, last: int, *, taken: set[int]) -> int:
    """Return the wanted port, else the last one, else any; never one in `taken`."""
    if wanted:
        if wanted in taken or not is_free(wanted):
            raise ConfigError(
                f"port {wanted} for {whose} is in use", hint="end its user or choose another port"
            )
        return wanted
    if 0 < last < 65536 and last not in taken and is_free(last):
        return last
    for _ in range(_PORT_TRIES_MAX):
        port = random.randrange(_PORT_FIRST, _PORT_END)
        if port not in taken and is_free(port):
            return port
    raise ConfigError(f"no free port for {whose} was found", hint="name one that is free")

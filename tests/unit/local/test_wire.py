"""Readiness over the wire: the right server, and never an exception for a wrong one."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.local.folder import HOST
from stream.local.wire import is_kafka_ready, is_valkey_ready, parse_metadata


def text(value: str | None) -> bytes:
    if value is None:
        return struct.pack(">h", -1)
    return struct.pack(">h", len(value)) + value.encode()


def metadata(cluster_id: str, *ports: int) -> bytes:
    """A Metadata answer, version 4: throttle time, brokers, cluster, controller, topics."""
    brokers = b"".join(
        struct.pack(">i", 1) + text(HOST) + struct.pack(">i", port) + text(None) for port in ports
    )
    tail = text(cluster_id) + struct.pack(">ii", 1, 0)
    return struct.pack(">ii", 0, len(ports)) + brokers + tail


def api_versions(first: int, last: int, error: int = 0) -> bytes:
    """An ApiVersions answer, version 0, that offers Produce and Metadata."""
    return struct.pack(">hi", error, 2) + struct.pack(">hhhhhh", 0, 3, 13, 3, first, last)


def framed(body: bytes) -> bytes:
    return struct.pack(">ii", len(body) + 4, 7) + body


@contextlib.contextmanager
def answering(*answers: Callable[[int], bytes]) -> Iterator[int]:
    """Listen, and answer each thing that comes with the next of these, given our port; yield it."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    for answer in answers:
                        connection.recv(65536)
                        connection.sendall(answer(port))

        thread = threading.Thread(target=serve)
        thread.start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def kafka_is_ready(versions: bytes, answer: Callable[[int], bytes]) -> bool:
    """Whether a broker that says this is ready, for somebody who expects the cluster `mine`."""
    with answering(lambda _: framed(versions), lambda port: framed(answer(port))) as port:
        return is_kafka_ready(port, "mine")


def valkey_is_ready(answer: bytes) -> bool:
    """Whether a server that says this is ready, for somebody who started process 42."""
    with answering(lambda _: answer) as port:
        return is_valkey_ready(port, 42)


def info(pid: int) -> bytes:
    body = b"# Server\r\nredis_version:7.2.4\r\nprocess_id:%d\r\nrun_id:ab\r\n" % pid
    return b"$%d\r\n%s\r\n" % (len(body), body)


def test_a_broker_is_ready_when_it_counts_itself_alive() -> None:
    """ApiVersions alone is too early: the broker must stand in its own list."""
    versions = api_versions(0, 13)
    assert kafka_is_ready(versions, lambda port: metadata("mine", port))
    assert not kafka_is_ready(versions, lambda port: metadata("mine"))


def test_a_broker_of_somebody_else_is_not_ours() -> None:
    """Another cluster, or another port in its list, is not the one that was started."""
    versions = api_versions(0, 13)
    assert not kafka_is_ready(versions, lambda port: metadata("theirs", port))
    assert not kafka_is_ready(versions, lambda port: metadata("mine", port + 1))


def test_a_broker_that_refuses_our_question_is_not_ready() -> None:
    """An error code, or a Metadata version that is not offered."""
    for versions in (api_versions(0, 13, error=35), api_versions(5, 13), api_versions(0, 3)):
        assert not kafka_is_ready(versions, lambda port: metadata("mine", port))


def test_valkey_is_ready_when_it_answers_and_is_ours() -> None:
    """PONG and our process number; not while it loads, nor for another process."""
    assert valkey_is_ready(b"+PONG\r\n" + info(42))
    assert not valkey_is_ready(b"+PONG\r\n" + info(43))
    assert not valkey_is_ready(b"-LOADING loading\r\n" + info(42))
    assert not valkey_is_ready(b"-NOAUTH no\r\n-NOAUTH no\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x02\x00\x00\x00\x07",
        b"\x7f\xff\xff\xff\x00\x00\x00\x07",
        framed(b""),
        framed(struct.pack(">hi", 0, 2**31 - 1)),
        framed(api_versions(0, 13))[:9],
    ],
)
def test_whatever_else_answers_is_not_ready(answer: bytes) -> None:
    """Some other program on the port is no exception and no hang."""
    with answering(lambda _: answer) as port:
        assert not is_kafka_ready(port, "mine")
    assert not valkey_is_ready(answer)


def test_nobody_there_is_not_ready() -> None:
    """The usual case in the first seconds."""
    with socket.create_server((HOST, 0)) as closed:
        port = closed.getsockname()[1]
    assert not is_kafka_ready(port, "mine")
    assert not is_valkey_ready(port, 42)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: metadata("x", 1, 2) + end))
def test_any_bytes_are_metadata_or_a_named_fault(answer: bytes) -> None:
    """Hostile bytes raise only what the caller takes for "not ready"."""
    with contextlib.suppress(struct.error, ValueError):
        cluster_id, ports = parse_metadata(answer)
        assert isinstance(cluster_id, str)
        assert len(ports) <= len(answer)

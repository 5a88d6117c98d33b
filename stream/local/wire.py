"""Questions to the servers over plain sockets: is it really you, and are you ready?

No client library: these are asked before any of them is worth its connections, and the room must
not depend on theirs. Whatever listens on the port may answer, so every answer is bounded and a
wrong one means "not ready", never an exception.
"""

from __future__ import annotations

import re
import socket
import struct

from .folder import HOST

TIMEOUT_S = 1.0
_ANSWER_BYTES_MAX = 1 << 20
_CORRELATION = 7
_API_VERSIONS, _METADATA = 18, 3
# The first version that can ask without creating topics; plain fields, as up to version 8.
_METADATA_VERSION = 4


def is_kafka_ready(port: int, cluster_id: str) -> bool:
    """Tell whether the broker of this cluster answers and counts itself as alive.

    It asks ApiVersions, then Metadata without topics, whose list of brokers holds the port only
    after the controller has registered and unfenced the broker.

    Source: the Kafka protocol guide; KIP-511 (ApiVersions), KIP-631 (fencing).
    """
    try:
        with socket.create_connection((HOST, port), timeout=TIMEOUT_S) as connection:
            versions = _ask_kafka(connection, _API_VERSIONS, 0, b"")
            if not _offers_metadata(versions):
                return False
            no_topics = struct.pack(">i?", 0, False)
            answer = _ask_kafka(connection, _METADATA, _METADATA_VERSION, no_topics)
        return parse_metadata(answer) == (cluster_id, {port})
    except (OSError, struct.error, ValueError):
        return False


def is_valkey_ready(port: int, pid: int) -> bool:
    """Tell whether the server with this process number answers on the port with its data loaded."""
    try:
        with socket.create_connection((HOST, port), timeout=TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            answer = b""
            while b"\r\nprocess_id:" not in answer or not answer.endswith(b"\r\n"):
                part = connection.recv(65536)
                if not part or not answer.startswith(b"+PONG"[: len(answer)]):
                    return False
                answer += part
                if len(answer) > _ANSWER_BYTES_MAX:
                    return False
    except OSError:
        return False
    found = re.search(rb"\r\nprocess_id:(\d+)\r\n", answer)
    return answer.startswith(b"+PONG\r\n") and found is not None and int(found[1]) == pid


def parse_metadata(answer: bytes) -> tuple[str, set[int]]:
    """Return cluster id and the ports of the living brokers from a Metadata answer, version 4.

    Errors: struct.error, ValueError for bytes that are no such answer.
    """
    (brokers,) = struct.unpack_from(">i", answer, 4)  # After throttle_time_ms.
    at = 8
    ports = set()
    for _ in range(brokers):
        at += 4  # node_id
        _, at = _text(answer, at)  # host
        (port,) = struct.unpack_from(">i", answer, at)
        ports.add(port)
        _, at = _text(answer, at + 4)  # rack
    cluster_id, _ = _text(answer, at)
    return cluster_id, ports


def _offers_metadata(answer: bytes) -> bool:
    """Tell whether an ApiVersions answer, version 0, has no error and offers our Metadata."""
    error, count = struct.unpack_from(">hi", answer, 0)
    if error:
        return False
    for at in range(6, 6 + 6 * count, 6):
        key, first, last = struct.unpack_from(">hhh", answer, at)
        if key == _METADATA:
            return bool(first <= _METADATA_VERSION <= last)
    return False


def _ask_kafka(connection: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Return the body of the answer to one request with a version 1 header."""
    client = b"enforcer-local"
    head = struct.pack(">hhih", key, version, _CORRELATION, len(client)) + client
    connection.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    size, correlation = struct.unpack(">ii", _exactly(connection, 8))
    if correlation != _CORRELATION or not 4 <= size <= _ANSWER_BYTES_MAX:
        raise ValueError("not Kafka")
    return _exactly(connection, size - 4)


def _exactly(connection: socket.socket, count: int) -> bytes:
    """Return that many bytes; ConnectionError (an OSError) when the other side ends before."""
    received = bytearray()
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise ConnectionError("the answer ended early")
        received += part
    return bytes(received)


def _text(answer: bytes, at: int) -> tuple[str, int]:
    """Return the nullable string at this place (empty for null) and the place after it."""
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(0, length)
    return answer[at + 2 : end].decode(), end

"""The tests' proxy leaves nothing open, whenever it is stopped."""

import contextlib
import gc
import socket
import warnings

from tests.ports import free_port
from tests.proxy import HOST, between


def test_a_proxy_that_is_stopped_leaves_no_socket() -> None:
    """Connections that are held, being made, or just accepted end with it."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen, contextlib.ExitStack() as undo:
        warnings.simplefilter("always")
        server = undo.enter_context(socket.create_server((HOST, 0), backlog=1))
        for target in (server.getsockname()[1], free_port()):
            with between(target) as proxy:
                proxy.hold()
                for _ in range(20):
                    client = undo.enter_context(socket.create_connection((HOST, proxy.port)))
                    client.sendall(b"x" * 1_000)
        gc.collect()
    assert [str(each.message) for each in seen] == []

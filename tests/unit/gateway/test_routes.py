"""An operation's name: one for each thing that is served, however the caller spells the method."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from stream.gateway import path_operation, template_of


class _Secrets(HTTPEndpoint):
    async def get(self, _: HttpRequest) -> PlainTextResponse:
        return PlainTextResponse("a secret")


async def _order(_: HttpRequest) -> PlainTextResponse:
    return PlainTextResponse("an order")


async def _chat(socket: WebSocket) -> None:
    await socket.close()


ROUTES = [
    Route("/secrets", _Secrets),
    Route("/orders/{id}", _order, methods=["GET", "PROPFIND"]),
    WebSocketRoute("/chat", _chat),
]
by_template = template_of(Starlette(routes=ROUTES).routes)


def scope(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}


@pytest.mark.parametrize("operation_of", [path_operation, by_template])
@pytest.mark.parametrize("method", ["GET", "get", "Get"])
def test_a_method_has_one_spelling(operation_of: Any, method: str) -> None:
    """Servers pass `get` on and applications serve it as GET: a revoke of GET holds for both."""
    assert operation_of(scope(method, "/secrets")) == "GET /secrets"


@pytest.mark.parametrize("operation_of", [path_operation, by_template])
def test_a_websocket_is_called_by_no_method(operation_of: Any) -> None:
    """A WebSocket names itself, and no method of that name passes for one."""
    socket = scope("", "/chat") | {"type": "websocket"}
    del socket["method"]
    assert operation_of(socket) == "WEBSOCKET /chat"
    assert path_operation(scope("WEBSOCKET", "/chat")) == "OTHER /chat"


@pytest.mark.parametrize("method", ["X7", "X8", "propfind", "GET" * 900])
def test_invented_methods_are_one_operation(method: str) -> None:
    """Who probes with methods that nobody serves makes one name, not many."""
    assert path_operation(scope(method, "/nowhere")) == "OTHER /nowhere"
    assert by_template(scope(method, "/nowhere")) == "OTHER (no route)"
    assert by_template(scope(method, "/orders/7")) == "OTHER /orders/{id}"
    assert by_template(scope(method, "/secrets")) == "OTHER /secrets"


def test_a_method_that_a_route_names_keeps_its_name() -> None:
    """What an application serves by an unusual method is an operation of its own."""
    assert by_template(scope("PROPFIND", "/orders/7")) == "PROPFIND /orders/{id}"
    assert by_template(scope("QUERY", "/nowhere")) == "QUERY (no route)"

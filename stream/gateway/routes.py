"""What a request calls, by its path or by the route that will serve it."""

from __future__ import annotations

from collections.abc import Callable, Container, MutableMapping, Sequence
from typing import Any, Final, NamedTuple

NO_ROUTE: Final = "(no route)"
"""Whatever no route serves is one operation a method: who probes for paths makes few names."""

METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY")
)
OTHER_METHOD: Final = "OTHER"
"""What stands for a method that is none of these, as in events made of access logs: callers invent
them, and applications may serve them all the same."""

_FULL: Final = 2  # The values of starlette.routing.Match.
_PARTIAL: Final = 1
_WEBSOCKET: Final = "WEBSOCKET"


class _Found(NamedTuple):
    """The template of a route, and the methods that it says it serves."""

    path: str
    methods: Container[str] = ()


_NOWHERE: Final = _Found(NO_ROUTE)


def path_operation(scope: MutableMapping[str, Any]) -> str:
    """Return `METHOD /path` of a request, `WEBSOCKET /path` of a WebSocket."""
    return f"{_method(scope)} {scope['path']}"


def template_of(routes: Sequence[Any]) -> Callable[[MutableMapping[str, Any]], str]:
    """Return what names an operation by the template of its route, as `GET /orders/{id}`.

    `routes` are Starlette's or FastAPI's (`app.routes`); mounts are looked into. An unusual method
    keeps its name where the route that serves it names it.

    Cost: tries the routes in their order, as the router does once more.
    """

    def operation_of(scope: MutableMapping[str, Any]) -> str:
        found = _found(routes, scope) or _NOWHERE
        return f"{_method(scope, found.methods)} {found.path}"

    return operation_of


def _method(scope: MutableMapping[str, Any], known: Container[str] = ()) -> str:
    """Return the method in the one spelling that checks and events use.

    Some servers pass `get` as it came, and some applications serve it as GET.
    """
    if "method" not in scope:
        return _WEBSOCKET
    method: str = scope["method"].upper()
    return method if method in METHODS or method in known else OTHER_METHOD


def _found(routes: Sequence[Any], scope: MutableMapping[str, Any]) -> _Found | None:
    """Return the first route that serves a request, or that nearly would."""
    partial: _Found | None = None
    for route in routes:
        match, child = route.matches(scope)
        if match.value == _FULL:
            path = str(getattr(route, "path", ""))
            inner = getattr(route, "routes", None)
            if not inner:
                return _Found(path, getattr(route, "methods", None) or ())
            rest = _found(inner, {**scope, **child})
            return None if rest is None else _Found(path + rest.path, rest.methods)
        if match.value == _PARTIAL and partial is None:
            partial = _Found(str(getattr(route, "path", "")))
    return partial

"""What a request calls, by its path or by the route that will serve it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Final

NO_ROUTE: Final = "(no route)"
"""Whatever no route serves is one operation: who probes for paths makes one name, not many."""

_FULL: Final = 2  # The values of starlette.routing.Match.
_PARTIAL: Final = 1


def path_operation(scope: MutableMapping[str, Any]) -> str:
    """Return `METHOD /path` of a request, `WEBSOCKET /path` of a WebSocket."""
    return f"{scope.get('method', 'WEBSOCKET')} {scope['path']}"


def template_of(routes: Sequence[Any]) -> Callable[[MutableMapping[str, Any]], str]:
    """Return what names an operation by the template of its route, as `GET /orders/{id}`.

    `routes` are Starlette's or FastAPI's (`app.routes`); mounts are looked into.

    Cost: tries the routes in their order, as the router does once more.
    """

    def operation_of(scope: MutableMapping[str, Any]) -> str:
        path = _template(routes, scope)
        return f"{scope.get('method', 'WEBSOCKET')} {NO_ROUTE if path is None else path}"

    return operation_of


def _template(routes: Sequence[Any], scope: MutableMapping[str, Any]) -> str | None:
    """Return the template of the first route that serves a request, or that nearly would."""
    partial: str | None = None
    for route in routes:
        match, child = route.matches(scope)
        if match.value == _FULL:
            path = str(getattr(route, "path", ""))
            inner = getattr(route, "routes", None)
            if not inner:
                return path
            rest = _template(inner, {**scope, **child})
            return None if rest is None else path + rest
        if match.value == _PARTIAL and partial is None:
            partial = str(getattr(route, "path", ""))
    return partial

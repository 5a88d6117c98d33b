"""The middleware: who calls, what is called, what is answered, what is reported."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from stream.events import OPERATION_LENGTH_MAX, Rate, Request, Subject, Token
from stream.gateway import Claims, EnforcementMiddleware, spiffe_header, template_of
from tests.buses import run, until
from tests.models.owner import AGENT, OTHER, Owner, command
from tests.unit.gateway.doors import Site

CALLER = {"x-spiffe-id": AGENT}


async def _order(request: HttpRequest) -> PlainTextResponse:
    return PlainTextResponse("an order", int(request.query_params.get("status", "200")))


async def _broken(request: HttpRequest) -> PlainTextResponse:
    raise LookupError("nothing there")


async def _report(request: HttpRequest) -> StreamingResponse:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100

    return StreamingResponse(lines())


async def _chat(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


ROUTES = [
    Route("/orders/{id}", _order, methods=["GET", "POST"]),
    Route("/broken", _broken),
    Route("/report", _report),
    WebSocketRoute("/chat", _chat),
    Mount("/admin", routes=[Route("/users/{name}", _order)]),
]


class Stage:
    """An application behind a gateway that is ready, and what came of it."""

    def __init__(self, site: Site, owner: Owner, app: EnforcementMiddleware) -> None:
        self.site = site
        self.owner = owner
        self.app = app
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://edge")
        self._gateway = app._gateway

    async def bind(self, subject: Subject, action: str = "revoke", **changes: Any) -> None:
        offset = self.owner.version.offset + 1
        now = {"caused_at_ms": self.site.clock.at_ms, "offset": offset}
        self.site.publish(*self.owner.put(subject, command(subject, action, **now, **changes)))
        await until(lambda: self._gateway.tallies()["records.applied"] == offset)

    async def reported(self, count: int) -> list[Request]:
        await until(lambda: len(self.site.reported()) >= count)
        assert len(self.site.reported()) == count
        return self.site.reported()


@contextlib.asynccontextmanager
async def staged(**settings: Any) -> AsyncIterator[Stage]:
    site, owner = Site(), Owner()
    await site.make_topics("enforcement", "requests")
    site.publish(*owner.heartbeat(site.clock.at_ms))
    async with site.gateway() as gateway:
        assert await gateway.wait_ready(10)
        app = EnforcementMiddleware(Starlette(routes=ROUTES), gateway, **settings)
        stage = Stage(site, owner, app)
        async with stage.client:
            yield stage


def test_a_request_is_served_and_reported() -> None:
    """Who is bound by nothing is served; the event says who, what, how it ended, how large."""

    async def scene() -> None:
        async with staged() as stage:
            answer = await stage.client.get("/orders/7", headers=CALLER)
            assert (answer.status_code, answer.text) == (200, "an order")
            (event,) = await stage.reported(1)
        assert (event.workload, event.operation) == (AGENT, "GET /orders/7")
        assert (event.outcome, event.status, event.bytes) == ("served", 200, 8)
        assert (event.gateway, event.at_ms) == ("edge-1", stage.site.clock.at_ms)

    run(scene())


def test_a_revoked_workload_gets_a_problem() -> None:
    """403 as RFC 9457 says, with rule, reason and command; the application never hears of it."""

    async def scene() -> None:
        async with staged() as stage:
            await stage.bind(Subject(workload=AGENT), text="512 exports in 10 s")
            answer = await stage.client.get("/orders/7", headers=CALLER)
            assert answer.status_code == 403
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["cache-control"] == "no-store"
            problem = answer.json()
            assert problem["title"] == "Forbidden"
            assert problem["status"] == 403
            assert problem["detail"] == "512 exports in 10 s"
            assert (problem["rule"], problem["action"]) == ("export-burst", "revoke")
            assert len(problem["command"]) == 32
            (event,) = await stage.reported(1)
        assert (event.outcome, event.status, event.bytes) == ("refused", 403, 0)

    run(scene())


def test_a_throttled_workload_is_told_when_to_come_back() -> None:
    """429 with Retry-After in whole seconds, rounded up, so that who obeys is served."""

    async def scene() -> None:
        async with staged() as stage:
            await stage.bind(Subject(workload=AGENT), "throttle", rate=Rate(1, 1_500))
            assert (await stage.client.get("/orders/7", headers=CALLER)).status_code == 200
            answer = await stage.client.get("/orders/7", headers=CALLER)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
            stage.site.clock.at_ms += 2_000
            assert (await stage.client.get("/orders/7", headers=CALLER)).status_code == 200
            events = await stage.reported(3)
        assert [each.outcome for each in events] == ["served", "refused", "served"]

    run(scene())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "served"), (302, "served"), (401, "denied"), (403, "denied"), (404, "failed"),
     (429, "failed"), (500, "failed")],
)  # fmt: skip
def test_outcome_follows_the_status(status: int, outcome: str) -> None:
    """401 and 403 are the application's own denial, other statuses from 400 failures."""

    async def scene() -> None:
        async with staged() as stage:
            await stage.client.get(f"/orders/7?status={status}", headers=CALLER)
            (event,) = await stage.reported(1)
        assert (event.outcome, event.status) == (outcome, status)

    run(scene())


def test_an_exception_is_a_failure_and_goes_on_its_way() -> None:
    """What the application raises is reported and raised."""

    async def scene() -> None:
        async with staged() as stage:
            transport = httpx.ASGITransport(stage.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
                with pytest.raises(LookupError):
                    await client.get("/broken", headers=CALLER)
            (event,) = await stage.reported(1)
        assert (event.outcome, event.status) == ("failed", 500)

    run(scene())


def test_streamed_bytes_are_counted() -> None:
    """The size of a response is the sum of its parts."""

    async def scene() -> None:
        async with staged() as stage:
            await stage.client.get("/report", headers=CALLER)
            (event,) = await stage.reported(1)
        assert event.bytes == 1_000

    run(scene())


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-spiffe-id", "")],
        [("x-spiffe-id", "somebody")],
        [("x-spiffe-id", "spiffe://example.org")],
        [("x-spiffe-id", AGENT), ("x-spiffe-id", OTHER)],
        [("x-spiffe-id", AGENT + "\xff")],
    ],
)
def test_nobody_is_refused(headers: list[tuple[str, str]]) -> None:
    """Without one valid identity nothing could bind the caller, so nothing is served."""

    async def scene() -> None:
        async with staged() as stage:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
            answer = await stage.client.get("/orders/7", headers=raw)
            assert answer.status_code == 403
            assert answer.json()["action"] == "unidentified"
            await stage.reported(0)

    run(scene())


def test_nobody_may_pass_where_that_is_meant() -> None:
    """`unidentified="pass"` serves without a check, and reports nothing about nobody."""

    async def scene() -> None:
        async with staged(unidentified="pass") as stage:
            assert (await stage.client.get("/orders/7")).status_code == 200
            await stage.reported(0)

    run(scene())


def test_identity_is_made_canonical() -> None:
    """Another spelling of the same identity is the same workload."""

    async def scene() -> None:
        async with staged(identify=spiffe_header("X-Caller")) as stage:
            await stage.bind(Subject(workload=AGENT))
            shouted = AGENT.replace("spiffe://example.org", "SPIFFE://Example.ORG")
            answer = await stage.client.get("/orders/7", headers={"x-caller": shouted})
            assert answer.status_code == 403

    run(scene())


def test_operations_by_template() -> None:
    """With the routes given, an operation is named by its template; what has no route, by one."""

    async def scene() -> None:
        async with staged(operation_of=template_of(ROUTES)) as stage:
            for method, path in [
                ("GET", "/orders/7"),
                ("POST", "/orders/8"),
                ("DELETE", "/orders/9"),
                ("GET", "/admin/users/ada"),
                ("GET", "/admin/nothing"),
                ("GET", "/wp-login.php"),
            ]:
                await stage.client.request(method, path, headers=CALLER)
            events = await stage.reported(6)
        assert [each.operation for each in events] == [
            "GET /orders/{id}",
            "POST /orders/{id}",
            "DELETE /orders/{id}",
            "GET /admin/users/{name}",
            "GET (no route)",
            "GET (no route)",
        ]

    run(scene())


def test_claims_bind_and_are_reported() -> None:
    """A task and token that the credential names are checked and reported."""

    def claims_of(scope: Any) -> Claims:
        task = scope["query_string"].decode()
        return Claims(
            task=task, token=Token(issuer="i", id="7"), purpose="billing", actors=(OTHER,)
        )

    async def scene() -> None:
        async with staged(claims_of=claims_of) as stage:
            await stage.bind(Subject(workload=AGENT, task="t-1"))
            assert (await stage.client.get("/report?t-1", headers=CALLER)).status_code == 403
            assert (await stage.client.get("/report?t-2", headers=CALLER)).status_code == 200
            _, event = await stage.reported(2)
        assert (event.task, event.purpose, event.actors) == ("t-2", "billing", (OTHER,))
        assert event.token == Token(issuer="i", id="7")

    run(scene())


def test_a_long_path_hides_nothing() -> None:
    """A path beyond the bound is one operation, the same to the check and to the worker."""

    async def scene() -> None:
        async with staged() as stage:
            await stage.client.get("/" + "x" * 5_000, headers=CALLER)
            (event,) = await stage.reported(1)
            assert len(event.operation) == OPERATION_LENGTH_MAX
            await stage.bind(Subject(workload=AGENT, operation=event.operation))
            answer = await stage.client.get("/" + "x" * 5_000, headers=CALLER)
            assert answer.status_code == 403

    run(scene())


async def talk(app: EnforcementMiddleware, **scope: Any) -> list[dict[str, Any]]:
    """Drive an application by hand; return what it sent."""
    sent: list[dict[str, Any]] = []
    received = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])

    async def receive() -> dict[str, Any]:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def websocket(path: str = "/chat", **changes: Any) -> dict[str, Any]:
    headers = [(b"x-spiffe-id", AGENT.encode())]
    scope = {"type": "websocket", "path": path, "headers": headers, "query_string": b""}
    return scope | {"root_path": "", "subprotocols": []} | changes


def test_websockets_are_checked_at_the_handshake() -> None:
    """A WebSocket is one request: served when accepted, refused before the application hears."""

    async def scene() -> None:
        async with staged() as stage:
            sent = await talk(stage.app, **websocket())
            assert sent[0]["type"] == "websocket.accept"
            assert (await talk(stage.app, **websocket("/nothing")))[0]["type"] == "websocket.close"
            await stage.bind(Subject(workload=AGENT))
            (refusal,) = await talk(stage.app, **websocket())
            assert (refusal["type"], refusal["code"]) == ("websocket.close", 1008)
            answered = websocket(extensions={"websocket.http.response": {}})
            start, body = await talk(stage.app, **answered)
            assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
            assert b"export-burst" in body["body"]
            events = await stage.reported(4)
        assert [each.outcome for each in events] == ["served", "denied", "refused", "refused"]
        assert {each.operation for each in events} == {"WEBSOCKET /chat", "WEBSOCKET /nothing"}
        assert events[0].status == 101

    run(scene())


def test_other_scopes_pass_untouched() -> None:
    """The lifespan of the application is its own business."""

    async def scene() -> None:
        seen: list[Any] = []

        async def inner(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
            seen.append((scope, receive, send))

        async with staged() as stage:
            app = EnforcementMiddleware(inner, stage.app._gateway)
            scope = {"type": "lifespan"}
            await app(scope, len, print)
        assert seen == [(scope, len, print)]

    run(scene())

"""ASGI middleware: asks the gateway before the application, and reports the outcome after it.

**Who calls.** By default the header `x-spiffe-id` says it, and whoever can reach the application
can write that header. So the default is right only behind a mesh or proxy that authenticates the
caller (mTLS), sets the header itself and removes what the client sent; the header must then come
exactly once. Elsewhere pass an `identify` that reads what your own authentication has established.
A request without a valid identity is refused, because nothing could ever bind it; say
`unidentified="pass"` only where that is meant.

**What is called.** `METHOD /path` by default; paths with ids in them make many operations, so give
`operation_of=template_of(app.routes)` or your own.

Requests end with one event: `refused` by us, `denied` (401 and 403 of the application), `failed`
(other statuses from 400, and exceptions before the answer is complete), else `served`. Its time is
that of the answer. A stream is reported while it lasts, and a long one is more events than one
(`answer`). A WebSocket is one request, over when the handshake is answered: what it carries is
neither checked nor counted, and one that is open when a revoke comes stays open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias

import msgspec

from stream.events import Outcome, Request, Token, TokenRef
from stream.identity import InvalidIdentity, canonical_workload

from .answer import NO_STATUS, Answer, Lasting, Message, outcome_of
from .client import Gateway
from .routes import path_operation
from .verdict import STATUS_DENY, Cause, Verdict

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Extract: TypeAlias = Callable[[Scope], str | None]

POLICY_VIOLATION: Final = 1008  # RFC 6455, section 7.4.1


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request may be made, as far as its credential says: all optional."""

    task: str = ""
    token: Token | None = None
    purpose: str = ""
    scopes: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()


NO_CLAIMS: Final = Claims()

CALLERS_REMEMBERED: Final = 4_096
"""Identities whose canonical form is remembered, the latest: 8 MiB where each is of the longest."""

_canonical: Final = lru_cache(CALLERS_REMEMBERED)(canonical_workload)


class _Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refusal. Source: RFC 9457; `rule` to `retry_after_ms` are our members."""

    title: str
    status: int
    detail: str
    action: str = ""
    rule: str = ""
    command: str = ""
    retry_after_ms: int = 0


class _Call(msgspec.Struct, frozen=True):
    """One request, before its outcome is known."""

    workload: str
    operation: str
    claims: Claims


def spiffe_header(name: str = "x-spiffe-id") -> Extract:
    """Return what reads the identity from a header; a header that comes twice names nobody.

    Trust: the header must be set by the mesh, never passed on from a client.
    """
    wanted = name.lower().encode("latin-1")

    def identify(scope: Scope) -> str | None:
        found: bytes | None = None
        for key, value in scope["headers"]:
            if key == wanted:
                if found is not None:
                    return None
                found = value
        return None if found is None else found.decode("latin-1")

    return identify


class EnforcementMiddleware:
    """An ASGI application around another one.

    `identify` gives the caller's SPIFFE ID or None, `operation_of` the operation's name,
    `claims_of` what the credential says; all three get the scope and must not wait.
    """

    def __init__(
        self,
        app: Application,
        gateway: Gateway,
        *,
        identify: Extract | None = None,
        operation_of: Callable[[Scope], str] = path_operation,
        claims_of: Callable[[Scope], Claims] | None = None,
        unidentified: Literal["refuse", "pass"] = "refuse",
    ) -> None:
        self._app = app
        self._gateway = gateway
        self._identify = identify or spiffe_header()
        self._operation_of = operation_of
        self._claims_of = claims_of
        self._unidentified = unidentified
        self._lasting = Lasting()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; scopes other than `http` and `websocket` pass untouched."""
        kind = scope["type"]
        if kind not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        call = self._call_of(scope)
        if call is None:
            if self._unidentified == "pass":
                await self._app(scope, receive, send)
            else:
                await _refuse(scope, receive, send, _UNIDENTIFIED)
            return
        claims = call.claims
        token = claims.token
        verdict = self._gateway.check(
            call.workload,
            call.operation,
            claims.task,
            TokenRef(token.issuer, token.id) if token is not None else None,
        )
        if verdict.decision != "allow":
            self._report(call, "refused", verdict.status, 0)
            await _refuse(scope, receive, send, verdict)
        elif kind == "http":
            await self._serve(call, scope, receive, send)
        else:
            await self._serve_websocket(call, scope, receive, send)

    def _call_of(self, scope: Scope) -> _Call | None:
        """Return who calls what, or None when nobody can be named."""
        text = self._identify(scope)
        if text is None:
            return None
        try:
            workload = _canonical(text)
        except InvalidIdentity:
            return None
        claims = self._claims_of(scope) if self._claims_of is not None else NO_CLAIMS
        return _Call(workload, self._operation_of(scope), claims)

    async def _serve(self, call: _Call, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(partial(self._report, call), self._lasting)
        see = answer.see

        async def send_seen(message: Message) -> None:
            # Before it is sent: how long that takes is the caller's choice.
            see(message)
            await send(message)

        has_failed = True
        try:
            await self._app(scope, receive, send_seen)
            has_failed = False
        finally:
            answer.close(has_failed=has_failed)

    async def _serve_websocket(
        self, call: _Call, scope: Scope, receive: Receive, send: Send
    ) -> None:
        is_answered = False

        async def send_observed(message: Message) -> None:
            nonlocal is_answered
            if not is_answered:
                status = _handshake_status(message)
                is_answered = True
                self._report(call, outcome_of(status), status, 0)
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        finally:
            if not is_answered:
                self._report(call, "failed", NO_STATUS, 0)

    def _report(self, call: _Call, outcome: Outcome, status: int, size: int) -> None:
        gateway, claims = self._gateway, call.claims
        if claims is NO_CLAIMS:
            gateway.report_plain(call.workload, call.operation, outcome, int(status), size)
            return
        gateway.report(
            Request(
                gateway.now_ms(),
                call.workload,
                call.operation,
                outcome=outcome,
                status=int(status),
                bytes=size,
                purpose=claims.purpose,
                task=claims.task,
                token=claims.token,
                scopes=claims.scopes,
                actors=claims.actors,
                gateway=gateway.spec.name,
            )
        )


def _handshake_status(message: Message) -> int:
    """Return the HTTP status that the first message of an application stands for."""
    if message["type"] == "websocket.accept":
        return HTTPStatus.SWITCHING_PROTOCOLS
    if message["type"] == "websocket.http.response.start":
        return int(message["status"])
    # Closed before it was accepted: servers answer 403.
    return HTTPStatus.FORBIDDEN


async def _refuse(scope: Scope, receive: Receive, send: Send, verdict: Verdict) -> None:
    """Answer in place of the application."""
    prefix = ""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            reason = verdict.reason.encode()[:120].decode("utf-8", "ignore")
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
            return
        prefix = "websocket."
    body = _problem(verdict)
    start = {"type": prefix + "http.response.start", "status": verdict.status}
    await send({**start, "headers": _headers(verdict, len(body))})
    await send({"type": prefix + "http.response.body", "body": body})


def _problem(verdict: Verdict) -> bytes:
    return msgspec.json.encode(
        _Problem(
            title=HTTPStatus(verdict.status).phrase,
            status=verdict.status,
            detail=verdict.reason,
            action=verdict.action,
            rule=verdict.rule,
            command=verdict.command,
            retry_after_ms=verdict.retry_after_ms,
        )
    )


def _headers(verdict: Verdict, size: int) -> Sequence[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % size),
        (b"cache-control", b"no-store"),
    ]
    if verdict.retry_after_ms:
        # Whole seconds, rounded up: a client that obeys must not be refused for a rounding.
        headers.append((b"retry-after", b"%d" % -(-verdict.retry_after_ms // 1_000)))
    return headers


_UNIDENTIFIED: Final = Verdict(
    "deny",
    STATUS_DENY,
    Cause(action="unidentified", reason="the request names no valid workload identity"),
)

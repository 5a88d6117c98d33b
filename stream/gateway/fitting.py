"""An event that every worker accepts: what is too long or too large is made to fit.

An event that breaks a bound ends as a dead letter, uncounted; so whoever is watched could hide a
request by making its path long. The bounds are read off the Struct itself: what is sent is decoded
once by the decoder that workers use, and only what it refuses is made to fit, field by field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import inspect

from stream.events import (
    OPERATION_LENGTH_MAX,
    PAYLOAD_BYTES_MAX,
    Request,
    Token,
    TokenRef,
    decode_request,
    encode_request,
)

_MARK_LENGTH: Final = 17
UNNAMED: Final = "?"


def clip_operation(operation: str) -> str:
    """Return an operation's name as it can be sent; different long names stay different.

    A check and the event of the same request must name the same operation, so both are clipped.
    """
    if operation.isascii() and 0 < len(operation) <= OPERATION_LENGTH_MAX:
        return operation
    return _clip_text(operation, OPERATION_LENGTH_MAX) or UNNAMED


def clip_label(text: str) -> str:
    """Return a task, or another label of an event, as it can be sent."""
    if text.isascii() and len(text) <= LABEL_LENGTH_MAX:
        return text
    return _clip_text(text, LABEL_LENGTH_MAX)


def clip_token(token: TokenRef) -> TokenRef:
    """Return a token as the event of its request will name it."""
    issuer, name = clip_label(token.issuer), clip_label(token.id)
    if issuer is token.issuer and name is token.id:
        return token
    return TokenRef(issuer, name)


def encode_fitting(request: Request) -> bytes:
    """Return the encoding of an event, made to fit where a worker would refuse it.

    Requires: `request.workload` is canonical.
    Errors:   ValueError, TypeError or AttributeError when nothing helps: a field of a wrong type.
    """
    try:
        payload = encode_request(request)
        decode_request(payload)
    except ValueError:
        payload = encode_request(_fit(request))
        if len(payload) > PAYLOAD_BYTES_MAX:
            payload = encode_request(msgspec.structs.replace(_fit(request), resources=()))
        decode_request(payload)
    return payload


def _fit(request: Request) -> Request:
    changes = {name: fit(getattr(request, name)) for name, fit in _FITS.items()}
    if request.token is not None:
        token = {name: fit(getattr(request.token, name)) for name, fit in _TOKEN_FITS.items()}
        # A token without an id is none.
        changes["token"] = Token(**token) if token["id"] else None
    changes["operation"] = clip_operation(request.operation)
    return msgspec.structs.replace(request, **changes)


def _clip_text(text: str, length_max: int) -> str:
    """Return a text of at most `length_max` characters, all of which UTF-8 can write."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= length_max:
        return text
    mark = "~" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return text[: length_max - _MARK_LENGTH] + mark


def _fit_of(kind: inspect.Type) -> Callable[[Any], Any] | None:
    """Return what makes a value of a field fit, None where there is nothing to do."""
    if isinstance(kind, inspect.StrType) and kind.max_length is not None:
        length_max = kind.max_length
        return lambda text: _clip_text(text, length_max)
    if isinstance(kind, inspect.IntType) and kind.ge is not None and kind.le is not None:
        least, most = int(kind.ge), int(kind.le)
        return lambda number: max(least, min(most, number))
    if isinstance(kind, inspect.VarTupleType) and kind.max_length is not None:
        items_max = kind.max_length
        fit = _fit_of(kind.item_type)
        least = getattr(kind.item_type, "min_length", None) or 0
        assert fit is not None, "the items of a bounded tuple are bounded"
        return lambda items: tuple(
            item for item in map(fit, items[:items_max]) if len(item) >= least
        )
    return None


def _bound_of(kind: type, name: str) -> int:
    """Return the number of characters that a text field of a Struct may have."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType), "events are Structs"
    (found,) = (field.type for field in info.fields if field.name == name)
    assert isinstance(found, inspect.StrType), "a text"
    assert found.max_length is not None, "a bounded text"
    return found.max_length


def _fits_of(kind: type) -> dict[str, Callable[[Any], Any]]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType), "events are Structs"
    fits = {field.name: _fit_of(field.type) for field in info.fields}
    return {name: fit for name, fit in fits.items() if fit is not None}


LABEL_LENGTH_MAX: Final = _bound_of(Request, "task")
_FITS: Final = _fits_of(Request)
_TOKEN_FITS: Final = _fits_of(Token)
COUNT_MAX: Final[int] = _FITS["count"](1 << 62)
BYTES_MAX: Final[int] = _FITS["bytes"](1 << 62)
COST_MAX: Final[int] = _FITS["cost"](1 << 62)
STATUS_MAX: Final[int] = _FITS["status"](1 << 62)

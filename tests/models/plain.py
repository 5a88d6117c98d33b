"""What the kernel for plain payloads must give: exactly what msgspec gives, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stream.events import EFFECTS, KINDS, OUTCOMES, Request, decode_request
from stream.identity import InvalidIdentity, canonical_workload, positive_murmur2
from stream.kernel import HashKey
from stream.profiles import token_text
from stream.profiles.batch import EVENT
from stream.profiles.json_event import SCRATCH_BYTES, read_events
from stream.records import Values

FIELDS = (
    "workload", "home", "at_ms", "operation", "task", "token", "bytes", "cost", "count",
    "kind", "effect", "outcome", "authenticated",
)  # fmt: skip


def read_plain(payloads: Sequence[bytes | None], key: HashKey) -> tuple[Any, Any]:
    """Return the events, and which payloads the kernel took."""
    values = Values.of(payloads)
    events, is_plain = np.zeros(len(values), EVENT), np.zeros(len(values), np.bool_)
    scratch = np.zeros(SCRATCH_BYTES, np.uint8)
    taken = read_events(
        (values.data, values.starts, values.sizes), events, is_plain, (key.words, scratch)
    )
    assert taken == is_plain.sum()
    return events, is_plain


@lru_cache(maxsize=100_000)
def hash_of(key: HashKey, text: str) -> int:
    """Return the keyed hash of a text."""
    return key.hash(text)


@lru_cache(maxsize=100_000)
def home_of(name: str) -> int:
    """Return what decides the home of a canonical workload."""
    return positive_murmur2(name.encode())


def wanted(request: Request, key: HashKey) -> tuple[int, ...]:
    """Return the columns of a request, each by its meaning."""
    name, token = canonical_workload(request.workload), request.token
    return (
        hash_of(key, name),
        home_of(name),
        request.at_ms,
        hash_of(key, request.operation),
        hash_of(key, request.task) if request.task else 0,
        hash_of(key, token_text(token.issuer, token.id)) if token else 0,
        request.bytes,
        request.cost,
        request.count,
        KINDS.index(request.kind),
        EFFECTS.index(request.effect),
        OUTCOMES.index(request.outcome),
        int(request.authenticated),
    )


def disagreement(
    payloads: Sequence[bytes], key: HashKey, model_key: HashKey | None = None
) -> tuple[bytes, str] | None:
    """Return the first payload that the kernel took and msgspec does not, or reads otherwise."""
    events, is_plain = read_plain(payloads, key)
    return differing(payloads, events, is_plain, model_key or key)


def differing(
    payloads: Sequence[bytes], events: Any, is_plain: Any, key: HashKey
) -> tuple[bytes, str] | None:
    """Return the first payload that was taken and msgspec does not take, or reads otherwise."""
    rows = events[list(FIELDS)].tolist()
    for place in np.flatnonzero(is_plain).tolist():
        payload = payloads[place]
        try:
            model = wanted(decode_request(payload), key)
        except (ValueError, RecursionError, InvalidIdentity) as error:
            return payload, f"msgspec: {error}"
        found = rows[place]
        if found != model:
            return payload, f"found {found}, wanted {model}"
    return None

"""What the kernel for plain payloads must give: exactly what msgspec gives, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from stream.events import (
    EFFECTS,
    FORWARDED,
    KINDS,
    OUTCOMES,
    Request,
    decode_request,
    split_requests,
)
from stream.identity import InvalidIdentity, canonical_workload, positive_murmur2
from stream.kernel import HashKey
from stream.profiles import EVENT, Batch, Told, token_text, told_by
from stream.profiles.elements import elements_of
from stream.profiles.gathering import Gathered
from stream.records import Values

FIELDS = (
    "workload", "home", "at_ms", "operation", "purpose", "task", "token", "bytes", "cost", "count",
    "kind", "effect", "outcome", "authenticated",
)  # fmt: skip


class Plain(NamedTuple):
    """What the kernel gives for payloads."""

    events: Any
    is_plain: Any
    gathered: Gathered


def read_plain(payloads: Sequence[bytes | None], key: HashKey) -> Plain:
    """Return the events and their values, and which payloads the kernel took."""
    values = Values.of(payloads)
    events, is_plain = np.zeros(len(values), EVENT), np.zeros(len(values), np.bool_)
    gathered = Gathered(key, len(values), with_values=True)
    gathered.read(values, events, is_plain)
    return Plain(events, is_plain, gathered)


def values_of(events: Any, gathered: Gathered | Batch) -> list[tuple[Any, ...]]:
    """Return what the values of each event say: name, value, shape and tokens of each."""
    values, tokens = gathered.values.tolist(), gathered.tokens.tolist()
    return [
        tuple(
            (name, value, shape, tuple(tokens[start : start + count]))
            for name, value, start, count, shape in values[first : first + size]
        )
        for first, size in events[["values_from", "values_count"]].tolist()
    ]


@lru_cache(maxsize=100_000)
def hashed(key: HashKey, told: Told) -> tuple[Any, ...]:
    """Return what a value should be in the arrays."""
    hashes = key.hash_all([told.name, told.value, *told.tokens])
    return hashes[0], hashes[1], told.shape, tuple(hashes[2:])


def wanted_values(request: Request, key: HashKey) -> tuple[Any, ...]:
    """Return what the values of a request should be, by the reference."""
    return tuple(hashed(key, each) for each in told_by(request.resources))


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
        hash_of(key, request.purpose) if request.purpose else 0,
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


def parts_of(value: bytes) -> list[bytes]:
    """Return the events of a record by msgspec, none where it is an array that is none."""
    try:
        return split_requests(value)
    except (ValueError, RecursionError):
        return []


def wrongly_split(values: Sequence[bytes], key: HashKey) -> tuple[bytes, str] | None:
    """Return the first record that is split into events otherwise than msgspec splits it."""
    gathered = Gathered(key, len(values), with_values=True)
    elements, _, _ = elements_of(
        Values.of(values), key.seal, gathered, np.zeros(len(values), EVENT)
    )
    faulty = {record for record, _, _ in elements.faults}
    for record, value in enumerate(values):
        of = elements.of(record)
        found = [elements.values[place] for place in range(of.start, of.stop)]
        if value.startswith(FORWARDED):
            continue
        model = parts_of(value)
        if found != (model or [value]) or (record in faulty) == bool(model):
            return value, f"found {found}, wanted {model}"
    return None


def disagreement(
    payloads: Sequence[bytes], key: HashKey, model_key: HashKey | None = None
) -> tuple[bytes, str] | None:
    """Return the first payload that the kernel took and msgspec does not, or reads otherwise."""
    return differing(payloads, read_plain(payloads, key), model_key or key)


def differing(payloads: Sequence[bytes], plain: Plain, key: HashKey) -> tuple[bytes, str] | None:
    """Return the first payload that was taken and msgspec does not take, or reads otherwise."""
    rows = plain.events[list(FIELDS)].tolist()
    values = values_of(plain.events, plain.gathered)
    for place in np.flatnonzero(plain.is_plain).tolist():
        payload = payloads[place]
        try:
            request = decode_request(payload)
            model = wanted(request, key)
        except (ValueError, RecursionError, InvalidIdentity) as error:
            return payload, f"msgspec: {error}"
        if rows[place] != model:
            return payload, f"found {rows[place]}, wanted {model}"
        if values[place] != wanted_values(request, key):
            return payload, f"found {values[place]}, wanted {wanted_values(request, key)}"
    return None

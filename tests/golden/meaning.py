"""What the bytes of a golden line mean to the code of today, as plain JSON values.

A line of a golden file is `{"name", "bytes" (hex), "means", ...}`. Whatever this module returns for
the bytes must equal `means` for ever: the reading side may change, the values may not.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from stream.events import (
    decode_entry,
    decode_letter,
    decode_request,
    decode_value,
    marker_key,
    origin_of_marker,
)
from stream.explain import StoredRow, open_row
from stream.identity import home_partition
from stream.kernel import HashKey
from stream.policy import load_policy
from stream.profiles import Arrival, Decoder, stored_clock_ms
from stream.store import Checkpoint

KEY = HashKey(b"golden hash key!")
PARTITIONS = 6
Line = dict[str, Any]


def meaning(kind: str, line: Line, policies: dict[str, str]) -> Any:
    """What one line means; rows name one of the policies beside them."""
    data = bytes.fromhex(line["bytes"])
    if kind == "rows":
        return msgspec.to_builtins(_row(data, line, policies[line["policy"]]))
    return msgspec.to_builtins(READERS[kind](data, line))


def _row(data: bytes, line: Line, text: str) -> Any:
    """All of a row that is not zero, windows and sequences by their stable ids."""
    policy = load_policy(text, line["policy"])
    partition = home_partition(line["workload"].encode(), PARTITIONS)
    image = open_row(KEY, policy, StoredRow(line["workload"], partition, data))
    layout, row = policy.layout, image.row
    named: dict[str, Any] = {"clock_ms": stored_clock_ms(data), "head": _record(row["head"])}
    for section, ids in (("counts", layout.counts), ("sums", layout.sums)):
        named[section] = {f"{each:016x}": _record(row[section][at]) for at, each in enumerate(ids)}
    named["contexts"] = {str(at): _record(each) for at, each in enumerate(row["contexts"])}
    named["marks"] = {
        f"{context} {each:016x}": _record(row["marks"][context][at])
        for context in range(len(row["contexts"]))
        for at, each in enumerate(layout.forbids)
    }
    named["transitions"] = {str(at): _record(each) for at, each in enumerate(row["transitions"])}
    named["ledger"] = {str(at): _record(each) for at, each in enumerate(row["ledger"])}
    named["held"] = sorted(
        (msgspec.to_builtins(each) for each in image.held.values()), key=lambda each: each["id"]
    )
    for name, value in named.items():
        if isinstance(value, dict) and name != "head":
            named[name] = {at: each for at, each in value.items() if each}
    return named


def _record(values: Any) -> dict[str, Any]:
    """The fields of one record that are not zero."""
    found = {name: values[name].tolist() for name in values.dtype.names}
    return {
        name: value
        for name, value in found.items()
        if (any(value) if isinstance(value, list) else value)
    }


def _event(data: bytes, _: Line) -> Any:
    """The request, and what the engine is given: hashes, numbers, home."""
    request = decode_request(data)
    arrival = Arrival("requests", 0, [7], [1_700_000_000_000], [data])
    batch, rejects = Decoder(KEY, 1).decode([arrival])
    assert rejects == []
    columns = _record(batch.events[0])
    # A column since: what was written means the same, and now this as well.
    assert columns.pop("purpose", 0) == (KEY.hash(request.purpose) if request.purpose else 0)
    return {"request": request, "columns": columns}


def _letter(data: bytes, line: Line) -> Any:
    letter = decode_letter(data)
    key = bytes.fromhex(line["key"])
    assert marker_key(letter.origin) == key
    origin = origin_of_marker(key)
    assert origin is not None
    marks = origin if origin.ordinal else origin[:3]
    return {"letter": letter, "payload": base64.b64encode(letter.payload()), "marks": marks}


def _policy(data: bytes, line: Line) -> Any:
    policy = load_policy(data.decode(), line["name"])
    layout = policy.layout
    return {
        "hash": policy.hash,
        "text": policy.text,
        "counts": [f"{each:016x}" for each in layout.counts],
        "sums": [f"{each:016x}" for each in layout.sums],
        "forbids": [f"{each:016x}" for each in layout.forbids],
    }


READERS = {
    "enforcement": lambda data, line: [type(decode_value(data)).__name__, decode_value(data)],
    "journal": lambda data, line: [type(decode_entry(data)).__name__, decode_entry(data)],
    "checkpoints": lambda data, line: msgspec.json.decode(data, type=Checkpoint),
    "events": _event,
    "letters": _letter,
    "policies": _policy,
}

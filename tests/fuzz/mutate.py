"""Inputs that are nearly right: trees of JSON and msgpack with one thing wrong, and bytes.

A mutator is a function of its generator and of what it was given, so a run is repeated by its seed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from stream.events import MSGPACK_FIRST

INPUT_MAX = 200_000


class Pairs(list[list[Any]]):
    """An object as a list of keys and values: a key may come twice, and may be no text."""


class Raw(bytes):
    """Bytes that stand in an encoding as they are."""


HOSTILE_NUMBERS: Sequence[Any] = (
    0, -0.0, -1, 1, 999, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**23,
    10**400, 1.5, 1e308, 5e-324, 253_402_300_799_999, 253_402_300_800_000, 1_000_001,
)  # fmt: skip
HOSTILE_TEXTS = (
    "", " ", "\0", "\x1b[2J\x1b]0;x\x07", "\r\nSet-Cookie: a=b", "\u202e", "\ufeff", "\U0010ffff",
    "é" * 50, "a" * 300, "a" * 3_000, "spiffe://", "spiffe://td/../a", "spiffe://TD/%2e",
    "SPIFFE://td/a", "spiffe://" + "a" * 300 + "/b", "spiffe://td/" + "a/" * 1_500, "{{7*7}}",
    "${jndi:x}", "'; FLUSHALL --", "%s%n", "../" * 40, "name:value", ":", "GET /" + "a/" * 200,
    "tool:*", "__proto__", "nan", "-", "\ud7ff", "type", "format",
)  # fmt: skip
HOSTILE_RAW = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"01", b"1.", b"9" * 4_000,
    b"0." + b"0" * 3_000,
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\\u0000"', b'"\\x"', b'"',
    b"", b"[" * 3_000, b'{"a":' * 2_000, b"[" * 500 + b"]" * 500, b"{" * 50, b"tru", b"null null",
    b"/**/1",
    b'"' + b"\\u0041" * 500 + b'"',
)  # fmt: skip
HOSTILE_MSGPACK = (
    b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xc6\x7f\xff\xff\xff",
    b"\xa3\xff\xfe\xfd", b"\x91" * 3_000, b"\x81\xa1a" * 1_000, b"\xcb\x7f\xf8\0\0\0\0\0\0",
    b"\xd6\xff\0\0\0\0",
    b"\xc7\xff\x01", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\0" * 7, b"\xa3\xed\xa0\x80", b"\xc0",
    b"\x80", b"\x90",
)  # fmt: skip


def parsed(data: bytes) -> Any:
    """The tree of an input, None where it has none."""
    try:
        if data[:1] and data[0] in MSGPACK_FIRST:
            return _paired(msgspec.msgpack.decode(data))
        return json.loads(data, object_pairs_hook=lambda pairs: Pairs(map(list, pairs)))
    except (ValueError, RecursionError):
        return None


def _paired(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs([key, _paired(each)] for key, each in value.items())
    return [_paired(each) for each in value] if isinstance(value, list | tuple) else value


def to_json(value: Any) -> bytes:
    """A tree as JSON, right or not."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Pairs):
        return b"{" + b",".join(to_json(k) + b":" + to_json(v) for k, v in value) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(to_json, value)) + b"]"
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def to_msgpack(value: Any) -> bytes:
    """A tree as msgpack, right or not."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Pairs):
        head = (
            struct.pack(">BI", 0xDF, len(value)) if len(value) > 15 else bytes([0x80 | len(value)])
        )
        return head + b"".join(to_msgpack(k) + to_msgpack(v) for k, v in value)
    if isinstance(value, list):
        head = (
            struct.pack(">BI", 0xDD, len(value)) if len(value) > 15 else bytes([0x90 | len(value)])
        )
        return head + b"".join(map(to_msgpack, value))
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        value = float(min(max(value, -(10**300)), 10**300))
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return struct.pack(">BI", 0xDB, len(data)) + data
    return msgspec.msgpack.encode(value)


class Mutator:
    """Makes inputs from seeds.

    `fixed` puts right what would otherwise hide all else, such as a checksum; half of the inputs
    go through it. `words` are texts worth trying: names of fields, choices, operators.
    """

    def __init__(
        self,
        random: Random,
        words: Sequence[bytes] = (),
        fixed: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._random = random
        self._words = words or (b"\0",)
        self._fixed = fixed

    def mutated(self, seed: bytes, other: bytes) -> bytes:
        """An input made from a seed, perhaps crossed with another one."""
        random = self._random
        tree = parsed(seed) if random.random() < 0.6 else None
        try:
            data = self._of_bytes(seed, other) if tree is None else self._of_tree(tree, seed)
        except RecursionError:
            data = self._of_bytes(seed, other)
        if tree is not None and random.random() < 0.1:
            data = self._of_bytes(data, other)
        if self._fixed is not None and random.random() < 0.7:
            data = self._fixed(data)
        return data[:INPUT_MAX]

    def _of_tree(self, tree: Any, seed: bytes) -> bytes:
        is_msgpack = seed[:1] != b"" and seed[0] in MSGPACK_FIRST
        if self._random.random() < 0.05:
            is_msgpack = not is_msgpack
        tree = self._changed_somewhere(tree, is_msgpack)
        if self._random.random() < 0.3:
            tree = self._changed_somewhere(tree, is_msgpack)
        return to_msgpack(tree) if is_msgpack else to_json(tree)

    def _changed_somewhere(self, tree: Any, is_msgpack: bool) -> Any:
        """The tree with one place changed, found by walking down at random."""
        random = self._random
        if isinstance(tree, Pairs) and tree and random.random() < 0.85:
            at = random.randrange(len(tree))
            what = random.random()
            if what < 0.08:
                del tree[at]
            elif what < 0.16:
                tree.insert(random.randrange(len(tree) + 1), list(tree[at]))
            elif what < 0.22:
                tree[at][0] = self._value(is_msgpack)
            elif what < 0.27:
                tree.append([self._word(), self._value(is_msgpack)])
            elif what < 0.32:
                random.shuffle(tree)
            else:
                tree[at][1] = self._changed_somewhere(tree[at][1], is_msgpack)
            return tree
        if (
            isinstance(tree, list)
            and tree
            and not isinstance(tree, Pairs)
            and random.random() < 0.85
        ):
            at = random.randrange(len(tree))
            what = random.random()
            if what < 0.1:
                del tree[at]
            elif what < 0.2:
                tree += tree[at : at + 1] * random.choice((1, 9, 40))
            else:
                tree[at] = self._changed_somewhere(tree[at], is_msgpack)
            return tree
        return self._scalar(tree, is_msgpack)

    def _scalar(self, value: Any, is_msgpack: bool) -> Any:
        random = self._random
        if isinstance(value, bool) or value is None or random.random() < 0.4:
            return self._value(is_msgpack)
        if isinstance(value, int):
            return value + random.choice((-1, 1, 2**31, -(2**31), 2**62, -value, value))
        if isinstance(value, str):
            at = random.randrange(len(value) + 1)
            return value[:at] + self._text() + value[at + random.randrange(3) :]
        return self._value(is_msgpack)

    def _value(self, is_msgpack: bool) -> Any:
        random = self._random
        what = random.random()
        if what < 0.3:
            return random.choice(HOSTILE_NUMBERS)
        if what < 0.6:
            return self._text()
        if what < 0.85:
            return Raw(random.choice(HOSTILE_MSGPACK if is_msgpack else HOSTILE_RAW))
        return random.choice((None, True, False, [], Pairs(), [[]], [Pairs([["a", 1]])], 0.5))

    def _text(self) -> str:
        return self._random.choice(HOSTILE_TEXTS) if self._random.random() < 0.6 else self._word()

    def _word(self) -> str:
        return self._random.choice(self._words).decode("utf-8", "replace")

    def _of_bytes(self, data: bytes, other: bytes) -> bytes:
        random, raw = self._random, bytearray(data)
        for _ in range(random.choice((1, 1, 2, 4, 16))):
            at = random.randrange(len(raw) + 1)
            what = random.randrange(9)
            if what == 0 and raw:
                raw[at % len(raw)] ^= 1 << random.randrange(8)
            elif what == 1 and raw:
                raw[at % len(raw)] = random.choice((0, 0xFF, 0x7F, 0x80, 0x22, 0x5C, 0x0A))
            elif what == 2:
                del raw[at : at + random.choice((1, 2, 8, 64))]
            elif what == 3:
                raw[at:at] = random.choice(self._words)
            elif what == 4:
                raw[at:at] = raw[at : at + random.choice((1, 8, 64))] * random.choice((1, 3, 50))
            elif what == 5:
                raw[at:] = other[random.randrange(len(other) + 1) :]
            elif what == 6:
                raw[at:at] = random.choice(HOSTILE_RAW + HOSTILE_MSGPACK)
            elif what == 7:
                raw[at : at + 8] = struct.pack(random.choice("<>") + "Q", random.getrandbits(64))
            else:
                del raw[at:]
        return bytes(raw)

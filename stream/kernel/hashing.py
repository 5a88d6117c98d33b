"""The keyed hash of strings, and the hash by which Kafka partitions, for Python and for kernels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream.identity import positive_murmur2

from .arithmetic import MASK, rotate, rotate64
from .compiling import is_compiled, kernel, routine
from .memory import load64

KEY_BYTES: Final = 16


def _siphash_python(data: bytes, key: tuple[int, int]) -> int:
    """SipHash-1-3 in plain integers; the reference of the compiled one."""
    k0, k1 = key
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & MASK
            v1 = rotate(v1, 13) ^ v0
            v0 = rotate(v0, 32)
            v2 = (v2 + v3) & MASK
            v3 = rotate(v3, 16) ^ v2
            v0 = (v0 + v3) & MASK
            v3 = rotate(v3, 21) ^ v0
            v2 = (v2 + v1) & MASK
            v1 = rotate(v1, 17) ^ v2
            v2 = rotate(v2, 32)

    length = len(data)
    for start in range(0, length - length % 8, 8):
        word = int.from_bytes(data[start : start + 8], "little")
        v3 ^= word
        rounds(1)
        v0 ^= word
    word = int.from_bytes(data[length - length % 8 :], "little") | (length & 0xFF) << 56
    v3 ^= word
    rounds(1)
    v0 ^= word
    v2 ^= 0xFF
    rounds(3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def _round(v0: Any, v1: Any, v2: Any, v3: Any) -> tuple[Any, Any, Any, Any]:
    """Return the four words after one round of SipHash."""
    v0 += v1
    v1 = rotate64(v1, np.uint64(13)) ^ v0
    v0 = rotate64(v0, np.uint64(32))
    v2 += v3
    v3 = rotate64(v3, np.uint64(16)) ^ v2
    v0 += v3
    v3 = rotate64(v3, np.uint64(21)) ^ v0
    v2 += v1
    v1 = rotate64(v1, np.uint64(17)) ^ v2
    v2 = rotate64(v2, np.uint64(32))
    return v0, v1, v2, v3


@routine
def sip(data: Any, start: int, end: int, key: Any) -> np.uint64:
    """Return the keyed hash of the bytes [start, end); never 0. See `HashKey`.

    Shapes:   data: [byte] of uint8, contiguous; key: [2] of uint64.
    Requires: 0 <= start <= end <= len(data).
    """
    v0, v1 = key[0] ^ np.uint64(0x736F6D6570736575), key[1] ^ np.uint64(0x646F72616E646F6D)
    v2, v3 = key[0] ^ np.uint64(0x6C7967656E657261), key[1] ^ np.uint64(0x7465646279746573)
    length = end - start
    place = start
    while place + 8 <= end:
        word = load64(data, place)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
        place += 8
    word = np.uint64(length & 255) << np.uint64(56)
    if end >= 8 and place < end:
        # The last eight bytes of the text or before it, without those that were taken.
        word |= load64(data, end - 8) >> np.uint64(8 * (8 - end + place))
    else:
        for rest in range(end - place):
            word |= np.uint64(data[place + rest]) << np.uint64(8 * rest)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
    v0, v1, v2, v3 = _round(v0 ^ word, v1, v2 ^ np.uint64(0xFF), v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    value = v0 ^ v1 ^ v2 ^ v3
    return value if value != np.uint64(0) else np.uint64(1)


@routine
def murmur(data: Any, start: int, end: int) -> int:
    """Return what `positive_murmur2` returns for the bytes [start, end).

    Shapes:   data: [byte] of uint8, contiguous.
    Requires: 0 <= start <= end <= len(data).
    Source:   see stream.identity.
    """
    word32, multiplier = np.uint64(0xFFFFFFFF), np.uint64(0x5BD1E995)
    hashed = np.uint64(0x9747B28C) ^ np.uint64(end - start)
    pair = np.uint64(0)
    for index in range((end - start) // 4):
        place = start + index * 4
        if index % 2:
            mixed = pair >> np.uint64(32)
        elif place + 8 <= end:
            pair = load64(data, place)
            mixed = pair & word32
        else:
            mixed = np.uint64(0)
            for byte in range(4):
                mixed |= np.uint64(data[place + byte]) << np.uint64(8 * byte)
        mixed = mixed * multiplier & word32
        mixed = (mixed ^ (mixed >> np.uint64(24))) * multiplier & word32
        hashed = (hashed * multiplier & word32) ^ mixed
    rest = (end - start) % 4
    if rest:
        for byte in range(rest):
            hashed ^= np.uint64(data[end - rest + byte]) << np.uint64(8 * byte)
        hashed = hashed * multiplier & word32
    hashed = (hashed ^ (hashed >> np.uint64(13))) * multiplier & word32
    hashed = (hashed ^ (hashed >> np.uint64(15))) & np.uint64(0x7FFFFFFF)
    return np.int64(hashed)  # type: ignore[return-value]


def _sip_python(data: Any, start: int, end: int, key: Any) -> np.uint64:
    words = int(key[0]), int(key[1])
    return np.uint64(_siphash_python(bytes(data[start:end]), words) or 1)


def _murmur_python(data: Any, start: int, end: int) -> int:
    return positive_murmur2(bytes(data[start:end]))


if not is_compiled():
    sip, murmur = _sip_python, _murmur_python


@kernel
def _sip_all(data: Any, ends: Any, key: Any, out: Any) -> None:
    """Hash every slice of `data` between two ends; see `hash_all`."""
    start = 0
    for text in range(len(ends)):
        end = ends[text]
        out[text] = sip(data, start, end, key)
        start = end


class HashKey:
    """The secret of the keyed hash of strings: 16 bytes, and a short id that rows carry.

    Attackers choose names, so names are hashed with SipHash-1-3 under a secret: nobody can aim at
    a slot, a set or a collision. A hash of 0 means "none" everywhere, so no text hashes to 0.
    Source: Aumasson, Bernstein, SipHash, INDOCRYPT 2012.
    """

    words: Any  # the secret as kernels take it: [2] of uint64

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"the hash key must have {KEY_BYTES} bytes, it has {len(secret)}")
        self._words = (
            int.from_bytes(secret[:8], "little"),
            int.from_bytes(secret[8:], "little"),
        )
        self.words = np.array(self._words, np.uint64)
        self._seal = hashlib.blake2b(key=secret, digest_size=KEY_BYTES, person=b"forward")
        self.id = int.from_bytes(hashlib.sha256(b"stream-enforcer" + secret).digest()[:2], "big")

    def __repr__(self) -> str:
        return f"HashKey(id={self.id})"

    def seal(self, data: bytes) -> bytes:
        """Return 16 bytes that only who has the secret can make of this data."""
        digest = self._seal.copy()
        digest.update(data)
        return digest.digest()

    def hash_all(self, texts: Sequence[str]) -> list[int]:
        """Return the keyed 64-bit hash of each text's UTF-8 bytes; never 0."""
        if not is_compiled():
            return [_siphash_python(text.encode(), self._words) or 1 for text in texts]
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
        out = np.empty(len(encoded), np.uint64)
        _sip_all(np.frombuffer(b"".join(encoded), np.uint8), ends, self.words, out)
        return out.tolist()

    def hash(self, text: str) -> int:
        """Return the keyed 64-bit hash of one text; never 0."""
        return self.hash_all((text,))[0]

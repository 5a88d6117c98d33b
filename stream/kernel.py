"""The one way to compile a kernel, and the arithmetic that must be the same compiled or not.

Numba's disk cache does not notice a change in a called function of another file, so the cache
folder is named by a hash of every source that can hold kernels, and of the versions of Python,
numpy and Numba. `NUMBA_DISABLE_JIT=1` runs the same functions as plain Python (coverage,
debugging); for the two to agree, wrapping 64-bit arithmetic happens only in the helpers here.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import NumbaExperimentalFeatureWarning
from numba.extending import intrinsic

from stream.identity import positive_murmur2

KERNEL_ROOMS: Final = (
    "kernel.py",
    "records",
    "profiles",
    "baselines",
    "detectors",
    "policy",
    "enforcement",
    "engine.py",
)
CACHES_MAX: Final = 4
KEY_BYTES: Final = 16

Function = TypeVar("Function", bound=Callable[..., Any])

# First-class record types are what numba calls experimental; we use only field access on them.
warnings.filterwarnings("ignore", category=NumbaExperimentalFeatureWarning)


def is_compiled() -> bool:
    """Tell whether kernels are compiled in this process."""
    return not numba.config.DISABLE_JIT


def cache_folder() -> Path:
    """Return the folder for compiled kernels of exactly these sources and versions."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(
        f"{sys.version} {np.__version__} {numba.__version__}".encode()  # no separator needed
    )
    package = Path(__file__).parent
    for room in KERNEL_ROOMS:
        place = package / room
        for file in [place] if place.suffix == ".py" else sorted(place.glob("*.py")):
            if file.exists():
                digest.update(file.name.encode() + file.read_bytes())
    return root / "stream-enforcer" / f"kernels-{digest.hexdigest()[:16]}"


def _use_cache() -> None:
    """Point Numba at our folder, keeping only the newest few of earlier versions.

    Where it cannot be written, a folder for this process alone: Numba refuses to compile with
    none, and each start then compiles anew.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        old = sorted(folder.parent.glob("kernels-*"), key=lambda each: -each.stat().st_mtime)
        for stale in old[CACHES_MAX:]:
            shutil.rmtree(stale, ignore_errors=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="stream-enforcer-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    numba.config.CACHE_DIR = str(folder)


_use_cache()


def kernel(function: Function) -> Function:
    """Compile a function: no GIL, cached on disk, no fast math, integer overflow never raises.

    Requires: no allocation, no exception, bounded loops, at most six arguments.
    """
    # The tables are tuples of arrays. Called, each is copied and its arrays are counted up and
    # down, atomically; inlined, and without counting (nothing is allocated here, so nothing
    # can be freed), an event costs 0.3 us instead of 1.1 (10,000 workloads, 7 windows).
    return _compiled(function, is_inlined=True)


def routine(function: Function) -> Function:
    """Compile a function like a kernel, once, however many kernels call it.

    For what takes few arrays and is called in many places: inlined into all of them it would take
    long to compile (24 s instead of 9 for the reading of events).
    """
    return _compiled(function, is_inlined=False)


def _compiled(function: Function, *, is_inlined: bool) -> Function:
    compiled = numba.njit(
        nogil=True,
        cache=True,
        fastmath=False,
        error_model="numpy",
        forceinline=is_inlined,
        _nrt=False,
    )(function)
    return cast(Function, compiled)


_MASK: Final = 0xFFFFFFFFFFFFFFFF


def _rotate(value: int, left: int) -> int:
    return ((value << left) | (value >> (64 - left))) & _MASK


def _siphash_python(data: bytes, key: tuple[int, int]) -> int:
    """SipHash-1-3 in plain integers; the reference of the compiled one."""
    k0, k1 = key
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & _MASK
            v1 = _rotate(v1, 13) ^ v0
            v0 = _rotate(v0, 32)
            v2 = (v2 + v3) & _MASK
            v3 = _rotate(v3, 16) ^ v2
            v0 = (v0 + v3) & _MASK
            v3 = _rotate(v3, 21) ^ v0
            v2 = (v2 + v1) & _MASK
            v1 = _rotate(v1, 17) ^ v2
            v2 = _rotate(v2, 32)

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
def rotate64(value: np.uint64, left: np.uint64) -> np.uint64:
    """Return `value` rotated left by 1..63 bits."""
    return (value << left) | (value >> (np.uint64(64) - left))


@kernel
def mix64(first: np.uint64, second: np.uint64) -> np.uint64:
    """Return a well-mixed 64-bit hash of two hashes; not keyed, its inputs are.

    Source: the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), over first ^ rot(second).
    """
    value = first ^ rotate64(second, np.uint64(23))
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _mix64_python(first: np.uint64, second: np.uint64) -> np.uint64:
    """Return what `mix64` returns, in plain integers, where wrapping needs no telling."""
    value = int(first) ^ _rotate(int(second), 23)
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return np.uint64(value ^ (value >> 31))


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _load64(_: Any, data: Any, place: Any) -> Any:
    """Eight bytes as they lie in memory, wherever they begin; the caller sees to the bounds."""
    word = ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        at = context.cast(builder, args[1], signature.args[1], types.intp)
        value = builder.load(builder.bitcast(builder.gep(array.data, [at]), word.as_pointer()))
        value.align = 1
        return value

    return types.uint64(data, place), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _zeros64(_: Any, value: Any) -> Any:
    """The number of zero bits below the lowest one bit; 64 of a zero."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@kernel
def load64(data: Any, place: int) -> np.uint64:
    """Return eight bytes from a place on as a little-endian number.

    Shapes:   data: [byte] of uint8, contiguous.
    Requires: 0 <= place <= len(data) - 8; a little-endian machine, as all that Numba knows are.
    """
    return _load64(data, place)  # type: ignore[no-any-return]


@kernel
def zeros64(value: np.uint64) -> int:
    """Return the number of zero bits below the lowest one bit; 64 of a zero."""
    return _zeros64(value)  # type: ignore[no-any-return]


@kernel
def minus64(value: np.uint64, less: np.uint64) -> np.uint64:
    """Return the difference of two numbers, modulo 2^64."""
    return value - less


@routine
def sip(data: Any, start: int, end: int, key: Any) -> np.uint64:
    """Return the keyed hash of the bytes [start, end); never 0. See `HashKey`.

    Shapes:   data: [byte] of uint8, contiguous; key: [2] of uint64.
    Requires: 0 <= start <= end <= len(data).
    """
    v0, v1 = key[0] ^ np.uint64(0x736F6D6570736575), key[1] ^ np.uint64(0x646F72616E646F6D)
    v2, v3 = key[0] ^ np.uint64(0x6C7967656E657261), key[1] ^ np.uint64(0x7465646279746573)
    length = end - start
    words = length // 8 + 1
    for index in range(words + 3):
        word = np.uint64(0)
        place = start + index * 8
        if index < words - 1:
            word = load64(data, place)
        elif index == words - 1:
            word = np.uint64(length & 255) << np.uint64(56)
            for rest in range(end - place):
                word |= np.uint64(data[place + rest]) << np.uint64(8 * rest)
        elif index == words:
            v2 ^= np.uint64(0xFF)
        v3 ^= word
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
        v0 ^= word
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


def _load64_python(data: Any, place: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes(data[place : place + 8]), "little"))


def _zeros64_python(value: np.uint64) -> int:
    bits = int(value)
    return (bits & -bits).bit_length() - 1 if bits else 64


def _minus64_python(value: np.uint64, less: np.uint64) -> np.uint64:
    return np.uint64((int(value) - int(less)) & _MASK)


def _sip_python(data: Any, start: int, end: int, key: Any) -> np.uint64:
    words = int(key[0]), int(key[1])
    return np.uint64(_siphash_python(bytes(data[start:end]), words) or 1)


def _murmur_python(data: Any, start: int, end: int) -> int:
    return positive_murmur2(bytes(data[start:end]))


if not is_compiled():
    mix64, load64, zeros64 = _mix64_python, _load64_python, _zeros64_python
    minus64, sip, murmur = _minus64_python, _sip_python, _murmur_python


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

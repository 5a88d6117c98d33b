"""Arithmetic on 64-bit words that wraps, and is the same compiled or not."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiling import is_compiled, kernel

MASK: Final = 0xFFFFFFFFFFFFFFFF


def rotate(value: int, left: int) -> int:
    """Return what `rotate64` returns, in plain integers."""
    return ((value << left) | (value >> (64 - left))) & MASK


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
    value = int(first) ^ rotate(int(second), 23)
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return np.uint64(value ^ (value >> 31))


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _zeros64(_: Any, value: Any) -> Any:
    """The number of zero bits below the lowest one bit; 64 of a zero."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@kernel
def zeros64(value: np.uint64) -> int:
    """Return the number of zero bits below the lowest one bit; 64 of a zero."""
    return _zeros64(value)  # type: ignore[no-any-return]


@kernel
def minus64(value: np.uint64, less: np.uint64) -> np.uint64:
    """Return the difference of two numbers, modulo 2^64."""
    return value - less


def _zeros64_python(value: np.uint64) -> int:
    bits = int(value)
    return (bits & -bits).bit_length() - 1 if bits else 64


def _minus64_python(value: np.uint64, less: np.uint64) -> np.uint64:
    return np.uint64((int(value) - int(less)) & MASK)


if not is_compiled():
    mix64, zeros64, minus64 = _mix64_python, _zeros64_python, _minus64_python

"""Memory as it lies: words at any place, and rows that are needed soon."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiling import is_compiled, kernel

LINE_BYTES: Final = 64
PREFETCHED_LINES: Final = 32  # about what an event touches of its row
ENTRY_LINES_MAX: Final = 7  # and of any other record: what follows is needed seldom


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


@kernel
def load64(data: Any, place: int) -> np.uint64:
    """Return eight bytes from a place on as a little-endian number.

    Shapes:   data: [byte] of uint8, contiguous.
    Requires: 0 <= place <= len(data) - 8; a little-endian machine, as all that Numba knows are.
    """
    return _load64(data, place)  # type: ignore[no-any-return]


def _asking(lines: int, is_written: int) -> Any:
    """Return what asks for so many cache lines from an array's entry on; 0 for its own."""

    @intrinsic  # type: ignore[untyped-decorator]  # numba has no types
    def ask(_: Any, rows: Any, place: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        asked = lines or min(-(-rows.dtype.size // LINE_BYTES), ENTRY_LINES_MAX)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            stride = builder.extract_value(array.strides, 0)
            at = context.cast(builder, args[1], signature.args[1], types.intp)
            data = builder.bitcast(array.data, byte)
            kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            for line in range(asked):
                ahead = ir.Constant(at.type, LINE_BYTES * line)
                offset = builder.add(builder.mul(at, stride), ahead)
                how = (ir.Constant(number, each) for each in (is_written, 3, 1))
                builder.call(ask, [builder.gep(data, [offset]), *how])
            return context.get_dummy_value()

        return types.void(rows, place), generate

    return ask


_ask_row = _asking(PREFETCHED_LINES, 1)
_ask_entry = _asking(0, 0)


@kernel
def prefetch(rows: Any, place: int) -> None:
    """Ask for the first cache lines of an entry that is needed soon; waits for none.

    Requires: 0 <= place < len(rows).
    """
    _ask_row(rows, place)


@kernel
def prefetch_entry(rows: Any, place: int) -> None:
    """Ask for the first cache lines of one record of an array, no others; waits for none.

    Requires: 0 <= place < len(rows).
    """
    _ask_entry(rows, place)


def _load64_python(data: Any, place: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes(data[place : place + 8]), "little"))


def _prefetch_python(rows: Any, place: int) -> None:
    pass


if not is_compiled():
    load64, prefetch, prefetch_entry = _load64_python, _prefetch_python, _prefetch_python

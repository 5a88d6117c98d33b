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
ENTRY_LINES_MAX: Final = 7  # of one record: what follows is needed seldom


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


def _ask(context: Any, builder: Any, rows: Any, start: Any, aheads: list[Any]) -> Any:
    """Emit what asks for the lines so many bytes behind an entry. Returns nothing, as a value."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    data = builder.bitcast(rows.data, byte)
    start = builder.mul(start, builder.extract_value(rows.strides, 0))
    for ahead in aheads:
        at = builder.gep(data, [builder.add(start, ahead)])
        # For writing, to stay in all caches, and it is data.
        builder.call(ask, [at, *(ir.Constant(number, each) for each in (1, 3, 1))])
    return context.get_dummy_value()


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _ask_line(_: Any, rows: Any, place: Any, line: Any) -> Any:
    """One line of an entry."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        start = context.cast(builder, args[1], signature.args[1], types.intp)
        chosen = context.cast(builder, args[2], signature.args[2], types.intp)
        ahead = builder.mul(chosen, ir.Constant(chosen.type, LINE_BYTES))
        return _ask(context, builder, array, start, [ahead])

    return types.void(rows, place, line), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _ask_entry(_: Any, rows: Any, place: Any) -> Any:
    """The first lines of an entry, no others."""
    lines = min(-(-rows.dtype.size // LINE_BYTES), ENTRY_LINES_MAX)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        start = context.cast(builder, args[1], signature.args[1], types.intp)
        aheads = [ir.Constant(start.type, LINE_BYTES * each) for each in range(lines)]
        return _ask(context, builder, array, start, aheads)

    return types.void(rows, place), generate


@kernel
def prefetch_line(rows: Any, place: int, line: int) -> None:
    """Ask for one cache line of an entry that is written soon; waits for none.

    Requires: 0 <= place < len(rows). Units: lines of LINE_BYTES from the entry's first byte on.
    """
    _ask_line(rows, place, line)


@kernel
def prefetch_entry(rows: Any, place: int) -> None:
    """Ask for the first cache lines of one record of an array, no others; waits for none.

    Requires: 0 <= place < len(rows).
    """
    _ask_entry(rows, place)


def _load64_python(data: Any, place: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes(data[place : place + 8]), "little"))


def _prefetch_python(rows: Any, place: int, line: int = 0) -> None:
    pass


if not is_compiled():
    load64 = _load64_python
    prefetch_line = prefetch_entry = _prefetch_python

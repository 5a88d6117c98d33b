"""CRC-32C, which guards each record batch: by the processor's own instruction where there is one.

Source: RFC 3720 appendix B.4; slicing by eight: Kounavis, Berry, ISCC 2005.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from stream.kernel import is_compiled, kernel, load64, routine


def _has_instruction() -> bool:
    """Tell whether kernels are compiled for a processor that takes CRC-32C itself."""
    asked_otherwise = numba.config.CPU_NAME or numba.config.CPU_FEATURES
    features = binding.get_host_cpu_features()
    return is_compiled() and not asked_otherwise and bool(features.get("sse4.2"))


HAS_INSTRUCTION: Final = _has_instruction()


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _step(_: Any, rest: Any, word: Any) -> Any:
    """The processor's own step of CRC-32C over eight bytes."""
    wide = ir.IntType(64)

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        kind = ir.FunctionType(wide, [wide, wide])
        name = "llvm.x86.sse42.crc32.64.64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return types.uint64(types.uint64, types.uint64), generate


_POLYNOMIAL: Final = 0x82F63B78
_WORD: Final = 0xFFFFFFFF


def _tables() -> Any:
    """Return the remainders of each byte, followed by 0 to 7 zero bytes."""
    tables = np.zeros((8, 256), np.int64)
    for byte in range(256):
        rest = byte
        for _ in range(8):
            rest = rest >> 1 ^ (_POLYNOMIAL if rest & 1 else 0)
        tables[0, byte] = rest
    for zeros in range(1, 8):
        tables[zeros] = tables[0, tables[zeros - 1] & 0xFF] ^ (tables[zeros - 1] >> 8)
    return tables


_TABLES: Final = _tables()


@kernel
def _finish(data: Any, start: int, end: int, rest: int) -> int:
    for place in range(start, end):
        rest = _TABLES[0, (rest ^ np.int64(data[place])) & 0xFF] ^ (rest >> 8)
    return rest ^ _WORD


@routine
def crc32c_by_tables(data: Any, start: int, end: int) -> int:
    """Return the CRC-32C of [start, end), as `crc32c`."""
    rest = np.int64(_WORD)
    while start + 8 <= end:
        word = load64(data, start)
        low = rest ^ np.int64(word & np.uint64(_WORD))
        high = np.int64(word >> np.uint64(32))
        rest = (
            _TABLES[7, low & 0xFF]
            ^ _TABLES[6, low >> 8 & 0xFF]
            ^ _TABLES[5, low >> 16 & 0xFF]
            ^ _TABLES[4, low >> 24]
            ^ _TABLES[3, high & 0xFF]
            ^ _TABLES[2, high >> 8 & 0xFF]
            ^ _TABLES[1, high >> 16 & 0xFF]
            ^ _TABLES[0, high >> 24]
        )
        start += 8
    return _finish(data, start, end, rest)  # type: ignore[arg-type]


@routine
def _crc32c_by_instruction(data: Any, start: int, end: int) -> int:
    rest = np.uint64(_WORD)
    while start + 8 <= end:
        rest = _step(rest, load64(data, start))
        start += 8
    return _finish(data, start, end, np.int64(rest))  # type: ignore[arg-type]


crc32c = _crc32c_by_instruction if HAS_INSTRUCTION else crc32c_by_tables

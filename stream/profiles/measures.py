"""What windows can count: the measures, in the order that kernels know them by."""

from __future__ import annotations

from typing import Final

MEASURES: Final = ("requests", "errors", "denials", "refused", "bytes", "cost")
SUM_MEASURES: Final = frozenset({"bytes", "cost"})
REQUESTS, ERRORS, DENIALS, REFUSED_REQUESTS, BYTES, COST = range(6)

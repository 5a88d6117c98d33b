"""The row of a workload, the table of rows, and batches of events.

A profile is a row of integers that kernels update in place; nothing here knows of rules' meaning,
clocks or storage.
"""

from .batch import (
    COMPLETION,
    DENIED,
    EVENT,
    FAILED,
    GRANT,
    REFUSED,
    REQUEST,
    SERVED,
    Batch,
    empty_batch,
)
from .contexts import clear_context, find_context, open_context, remember_operation
from .decoder import CACHE_MAX, CACHED_CHARACTERS_MAX, Arrival, Decoder, Read, token_text
from .layout import (
    BINS,
    CONTEXTS,
    FORBIDS_MAX,
    LEDGER,
    LEDGER_ENTRY,
    RECENT,
    TRANSITION_SETS,
    TRANSITION_WAYS,
    Layout,
    PairId,
    Sections,
    sections,
)
from .measures import (
    BYTES,
    COST,
    DENIALS,
    ERRORS,
    MEASURES,
    REFUSED_REQUESTS,
    REQUESTS,
    SUM_MEASURES,
)
from .operations import OPERATIONS_MAX, Operations, OperationTable
from .rowformat import FORMAT_VERSION, RowFormat, stored_clock_ms, stored_home, tail_of, with_tail
from .table import ProfileTable, locate
from .transitions import count_transition
from .windows import add_count, add_sum, bin_of, clear, slide

__all__ = [
    "BINS",
    "BYTES",
    "CACHED_CHARACTERS_MAX",
    "CACHE_MAX",
    "COMPLETION",
    "CONTEXTS",
    "COST",
    "DENIALS",
    "DENIED",
    "ERRORS",
    "EVENT",
    "FAILED",
    "FORBIDS_MAX",
    "FORMAT_VERSION",
    "GRANT",
    "LEDGER",
    "LEDGER_ENTRY",
    "MEASURES",
    "OPERATIONS_MAX",
    "RECENT",
    "REFUSED",
    "REFUSED_REQUESTS",
    "REQUEST",
    "REQUESTS",
    "SERVED",
    "SUM_MEASURES",
    "TRANSITION_SETS",
    "TRANSITION_WAYS",
    "Arrival",
    "Batch",
    "Decoder",
    "Layout",
    "OperationTable",
    "Operations",
    "PairId",
    "ProfileTable",
    "Read",
    "RowFormat",
    "Sections",
    "add_count",
    "add_sum",
    "bin_of",
    "clear",
    "clear_context",
    "count_transition",
    "empty_batch",
    "find_context",
    "locate",
    "open_context",
    "remember_operation",
    "sections",
    "slide",
    "stored_clock_ms",
    "stored_home",
    "tail_of",
    "token_text",
    "with_tail",
]

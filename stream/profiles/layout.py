"""The row of a workload: which bytes mean what, and how many there are.

A profile is one contiguous row of a numpy structured array. Its sections are fields; kernels get
each section as a strided view (`rows["counts"]`, shape [slot, position]), so their compiled types
do not depend on how many windows or sequences a policy names, and a policy reload compiles nothing.

Byte budget of a row (held by tests/unit/profiles/test_layout.py), W pairs of counts, S of sums,
F forbidden sequences:

    section      bytes        what
    head         112          identity, applied offset, clock, policy; always stored
    local        96           process-local: dirty since, last use, resolved class; never stored
    counts       80 x W       windows of requests, errors, denials, refused: 17 bins of u32
    sums         144 x S      windows of bytes and cost: 17 bins of i64
    contexts     56 x 8       the workload's own sequence and up to 7 tasks
    marks        16 x 8 x F   per context, the last "first" of each forbidden sequence
    transitions  24 x 32      heaviest operation -> operation pairs, 8 sets of 4
    ledger       64 x 8       what is in force on the workload

With the shipped default policy that is at most 4 KiB in memory; in Redis unused parts are left out.
Counters saturate at their ceiling: u32 bins at 4,294,967,295, i64 bins at 5 x 10^17.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.kernel import LINE_BYTES

BINS: Final = 17
CONTEXTS: Final = 8
RECENT: Final = 3
TRANSITION_SETS: Final = 8
TRANSITION_WAYS: Final = 4
LEDGER: Final = 8
COUNT_PAIRS_MAX: Final = 24
SUM_PAIRS_MAX: Final = 8
FORBIDS_MAX: Final = 64
LINES_TOUCHED_MAX: Final = 32
U32_MAX: Final = 0xFFFFFFFF
UNSTORED, STORED, COUNTED = range(3)  # never stored; read back; written from here with its domain

HEAD: Final = np.dtype(
    [
        ("workload", np.uint64),  # keyed hash of the canonical id; the row's name
        ("policy", np.uint64),  # hash of the policy that last touched the row
        ("offset", np.int64),  # applied up to here, -1 before the first event
        ("clock_ms", np.int64),  # largest event time seen, clamped
        ("first_ms", np.int64),  # event time of the first event
        ("events", np.int64),  # requests this row has counted
        ("lift_offset", np.int64),  # operator lifts honoured up to here
        ("late", np.int64),  # events too late for some window
        ("contexts_dropped", np.int64),
        ("transitions_dropped", np.int64),
        ("ledger_dropped", np.int64),
        ("partition", np.int32),
        ("home", np.int32),  # murmur2 of the canonical id, positive
        ("era", np.int32),
        ("ordinal", np.int32),  # within `offset`, for records with several events
        ("tasks", np.int32),  # contexts in use, the workload's own not counted
        ("in_force", np.int32),  # ledger entries in use
    ],
    align=True,
)
LOCAL: Final = np.dtype(
    [
        ("unsaved_from", np.int64),  # first offset not yet stored, plus 1; 0 when all is
        ("exempt_until_ms", np.int64),
        ("lift_offset", np.int64),
        ("used", np.int32),  # batch number of the last use
        ("class_index", np.int32),
        ("serial", np.int32),  # of the conditions the row was resolved under
        ("in_use", np.int32),
        ("saving", np.int32),  # a write of it is under way
        ("habits", np.int32),  # place of the workload's record of habits, plus 1; see `learned`
        ("standing", np.int32),  # UNSTORED, STORED or COUNTED
        ("spare", np.int32),
        ("peers", np.uint64),  # hash of the class whose baseline it is compared with
        ("learned", np.int32, (CONTEXTS,)),  # place of each context's record, plus 1
    ],
    align=True,
)
COUNT_WINDOW: Final = np.dtype(
    [("total", np.int64), ("bins", np.uint32, (BINS,)), ("spare", np.uint32)], align=True
)
SUM_WINDOW: Final = np.dtype([("total", np.int64), ("bins", np.int64, (BINS,))], align=True)
CONTEXT: Final = np.dtype(
    [
        ("task", np.uint64),  # 0 for the workload's own and for unused ones
        ("used_ms", np.int64),  # row clock of the last event, plus 1
        ("events", np.int64),
        ("granted", np.int64),
        ("recent", np.uint64, (RECENT,)),  # last operations, newest first
    ],
    align=True,
)
MARK: Final = np.dtype([("at_ms", np.int64), ("operation", np.uint64)], align=True)
TRANSITION: Final = np.dtype(
    [
        ("source", np.uint64),
        ("target", np.uint64),
        ("count", np.uint32),
        ("error", np.uint32),  # at most so much of `count` belongs to pairs dropped before
    ],
    align=True,
)
LEDGER_ENTRY: Final = np.dtype(
    [
        ("rule", np.uint64),
        ("subject", np.uint64),  # hash of task, token or operation; 0 for the workload
        ("since_ms", np.int64),  # row clock of the last issue or renewal
        ("until_ms", np.int64),
        ("first_ms", np.int64),  # row clock of the first issue
        ("offset", np.int64),  # version of the last command
        ("ordinal", np.int32),
        ("repeat", np.int32),
        ("action", np.int16),
        ("kind", np.int16),
        ("mode", np.int16),
        ("spare", np.int16),
    ],
    align=True,
)

Rows = npt.NDArray[np.void]


class Sections(NamedTuple):
    """Views of one array of rows, a field each; what kernels take as `table`.

    Shapes: head, local [slot]; counts, sums [slot, position]; contexts [slot, context];
    marks [slot, context, forbid]; transitions [slot, entry]; ledger [slot, entry].
    """

    head: Any
    local: Any
    counts: Any
    sums: Any
    contexts: Any
    marks: Any
    transitions: Any
    ledger: Any


class PairId(NamedTuple):
    """One thing a window counts: its measure, its set of operations, its length."""

    measure: str
    operations: tuple[str, ...]
    effect: str
    window_ms: int


class Layout(NamedTuple):
    """Which pair and which forbidden sequence has which place in a row.

    `counts` and `sums` are the stable 64-bit ids of the pairs by position, `forbids` those of the
    sequences; stored sections carry these ids, so another policy finds what it still names.
    """

    counts: tuple[int, ...]
    sums: tuple[int, ...]
    forbids: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Return the dtype of a row."""
        return np.dtype(
            [
                ("head", HEAD),
                ("local", LOCAL),
                ("counts", COUNT_WINDOW, (max(1, len(self.counts)),)),
                ("sums", SUM_WINDOW, (max(1, len(self.sums)),)),
                ("contexts", CONTEXT, (CONTEXTS,)),
                ("marks", MARK, (CONTEXTS, max(1, len(self.forbids)))),
                ("transitions", TRANSITION, (TRANSITION_SETS * TRANSITION_WAYS,)),
                ("ledger", LEDGER_ENTRY, (LEDGER,)),
            ],
            align=True,
        )

    def union(self, other: Layout) -> Layout:
        """Return the layout that has everything of both, ours in the same places."""
        return Layout(
            *(
                mine + tuple(each for each in theirs if each not in mine)
                for mine, theirs in zip(self, other, strict=True)
            )
        )

    def fits(self) -> bool:
        """Tell whether the layout is within the stated numbers."""
        return (
            len(self.counts) <= COUNT_PAIRS_MAX
            and len(self.sums) <= SUM_PAIRS_MAX
            and len(self.forbids) <= FORBIDS_MAX
        )


def sections(rows: Rows) -> Sections:
    """Return the views of an array of rows."""
    return Sections(*(rows[name] for name in Sections._fields))


def lines_touched(rows: Sections) -> int:
    """Return how many cache lines of a row, from its first on, most events touch.

    What lies behind, transitions and what is in force, is asked for where it is known which.
    """
    span: int = rows.transitions.ctypes.data - rows.head.ctypes.data
    return min(-(-span // LINE_BYTES), LINES_TOUCHED_MAX)

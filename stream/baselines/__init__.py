"""What is expected of a class and a purpose: learned from ended tasks, one immutable version.

`tasks` is what is learned from, `promotion` makes a baseline of it, `expected` is what kernels ask.
"""

from __future__ import annotations

from .baseline import NAMES_MAX, PARTS_MEASURED, Baseline, Facts, Tail, View, no_view
from .budget import share_of
from .candidate import OF_PURPOSE_MAX, OF_WORKLOAD_MAX, TASKS_MAX, put_together
from .certainty import Certain, certain, exact_interval
from .entries import (
    BIT,
    BITS_MAX,
    ENTRIES_MAX,
    ENTRY,
    ESTATE,
    EXPOSED,
    LARGEST,
    NEW_ODD,
    NEW_RATE,
    NOWHERE,
    ODD,
    OPERATION,
    PURPOSES,
    RATE,
    TASKS,
    Entries,
    ask_entry,
    find_entry,
    key_of,
    place_of,
    support_of,
    whole,
)
from .entries import DEEDS as DEEDS_KIND
from .expected import ask_call, asked_of, level_of, odd_bits, rate_bits
from .format import (
    BASELINE_BYTES_MAX,
    MAGIC,
    decode_baseline,
    encode_baseline,
    version_of,
)
from .learner import IDLE_MS, OPEN_MAX, Learner
from .portable import (
    PORTABLE_BYTES_MAX,
    PORTABLE_MAGIC,
    Portable,
    decode_portable,
    encode_portable,
    manifest_of,
)
from .promotion import HabitFacts, promote
from .sizes import LARGER_BYTES, largest_of
from .tail import NEVER, Prior, fit_tail, rate_of, smoothed_tail, sureness, threshold_of
from .tasks import CALL, CALLS_MAX, CHANGE, RATES, READ, TASK, Tasks, no_tasks, packed, together

__all__ = [
    "BASELINE_BYTES_MAX",
    "BIT",
    "BITS_MAX",
    "CALL",
    "CALLS_MAX",
    "CHANGE",
    "DEEDS_KIND",
    "ENTRIES_MAX",
    "ENTRY",
    "ESTATE",
    "EXPOSED",
    "IDLE_MS",
    "LARGER_BYTES",
    "LARGEST",
    "MAGIC",
    "NAMES_MAX",
    "NEVER",
    "NEW_ODD",
    "NEW_RATE",
    "NOWHERE",
    "ODD",
    "OF_PURPOSE_MAX",
    "OF_WORKLOAD_MAX",
    "OPEN_MAX",
    "OPERATION",
    "PARTS_MEASURED",
    "PORTABLE_BYTES_MAX",
    "PORTABLE_MAGIC",
    "PURPOSES",
    "RATE",
    "RATES",
    "READ",
    "TASK",
    "TASKS",
    "TASKS_MAX",
    "Baseline",
    "Certain",
    "Entries",
    "Facts",
    "HabitFacts",
    "Learner",
    "Portable",
    "Prior",
    "Tail",
    "Tasks",
    "View",
    "ask_call",
    "ask_entry",
    "asked_of",
    "certain",
    "decode_baseline",
    "decode_portable",
    "encode_baseline",
    "encode_portable",
    "exact_interval",
    "find_entry",
    "fit_tail",
    "key_of",
    "largest_of",
    "level_of",
    "manifest_of",
    "no_tasks",
    "no_view",
    "odd_bits",
    "packed",
    "place_of",
    "promote",
    "put_together",
    "rate_bits",
    "rate_of",
    "share_of",
    "smoothed_tail",
    "support_of",
    "sureness",
    "threshold_of",
    "together",
    "version_of",
    "whole",
]

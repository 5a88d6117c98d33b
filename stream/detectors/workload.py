"""All learned detectors of one workload and of one of its contexts: a call each, at one place.

`follow_workload` is called at each event of a row (grants and completions too: they move the
clock), `follow_context` at each request that was not refused by us. Both judge before they learn,
allocate nothing, and cost some hundred nanoseconds where no interval closes. WORKLOAD and
CONTEXT_HABITS are the sections they want in a row and in a context: all zero when new, whole words,
integers only. A context that ends hands its loops over by `end_stretch`, and one that has no tasks
does so each STRETCH calls; facts come from the learning functions of this room.

Parts are in 1/1024 bit, one row each, and are not added up here: they depend on one another, so a
budget is kept by calibrating each or their maximum (DESIGN section 4). A part that cannot know says
so by its bit in the mask that is returned: 0 of it then means "not known", and not "as expected".
Loops and fallbacks are always ready; while cold they are asserted, and their HOW says it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel, mix64, routine
from stream.profiles import BYTES, COST, DENIED, ERRORS, FAILED, REFUSED, REQUEST, REQUESTS

from .facts import UNREADY
from .fallback import FALLBACK, FALLBACK_PARTS, WITHIN, fallback_bits, follow_fallback
from .interval import RATE, RATE_PARTS, is_rate_ready, observe_rate
from .level import AMOUNTS, COUNTED
from .limit import amount_of
from .loops import LOOP_PARTS, LOOPS, PERIODS, follow_loops, repeated_bits, usual_loops
from .sequence import (
    FIRST_HOW_PART,
    FIRST_PART,
    HOW_PART,
    SEQUENCE,
    SEQUENCE_PARTS,
    follow_order,
    usual_order,
)
from .series import LEVEL
from .shares import DENIAL, ERROR, SHARE_PARTS, SHARES, USUAL, follow_usual, usual_share
from .silence import SILENCE, SILENCE_PARTS, learn_silence, silence_allowed, silence_bits
from .spread import SPREAD, observe_resources, observe_spread

INTERVAL_MS: Final = 300_000
RATES: Final = 4
MEASURES: Final = (REQUESTS, ERRORS, BYTES, COST)
KINDS: Final = (COUNTED, COUNTED, AMOUNTS, AMOUNTS)
WORKLOAD_NAMES: Final = (
    "requests",
    "errors",
    "bytes",
    "cost",
    "operations",
    "resources",
    "error_share",
    "denial_share",
)
OPERATIONS_PART, RESOURCES_PART = RATES, RATES + 1
HELD: Final = RATES + 2  # of all that is counted by interval
ERROR_PART, DENIAL_PART = HELD, HELD + 1
WORKLOAD_PARTS: Final = len(WORKLOAD_NAMES)
CONTEXT_NAMES: Final = ("first_use", "sequence", "loops", "fallback")
FIRST_USE, ORDER, LOOPED, FELL_BACK = range(4)
CONTEXT_PARTS: Final = len(CONTEXT_NAMES)
# What is usual in a class, USUAL numbers of each: behind ERROR and DENIAL of order and of loops.
USUAL_ORDER, USUAL_LOOPS, USUALS = range(2, 5)
DETAILS: Final = max(
    RATE_PARTS, SEQUENCE_PARTS, LOOP_PARTS, FALLBACK_PARTS, SHARE_PARTS, SILENCE_PARTS
)

# By interval: requests, errors, bytes, cost, different operations, different resources.
WORKLOAD: Final = np.dtype(
    [
        ("rates", RATE, (HELD,)),
        ("shares", SHARES, (2,)),
        ("operations", SPREAD),
        ("resources", SPREAD),
        ("series", LEVEL, (HELD,)),
        ("silence", SILENCE),
    ],
    align=True,
)
WORKLOAD_BEFORE: Final = np.dtype(
    [
        ("rates", RATE, (HELD,)),
        ("shares", SHARES, (2,)),
        ("operations", SPREAD),
        ("resources", SPREAD),
        ("series", LEVEL, (HELD,)),
    ],
    align=True,
)
CONTEXT_HABITS: Final = np.dtype(
    [("sequence", SEQUENCE), ("loops", LOOPS), ("fallback", FALLBACK)], align=True
)


@routine
def write_usual(group: np.uint64, facts: Any, out: Any) -> None:
    """Write what is usual in a class: what is the same for all of its calls is looked up once.

    Shapes: facts [place] of ENTRY; out [USUALS, USUAL] of int64. Mutates: out.
    """
    for which in (ERROR, DENIAL):
        share = usual_share(which, group, facts)
        for place in range(USUAL):
            out[which, place] = share[place]
    order = usual_order(group, facts)
    for place in range(USUAL):
        out[USUAL_ORDER, place] = order[place]
        out[USUAL_LOOPS, place] = 0
    out[USUAL_LOOPS, 0] = usual_loops(group, facts)


def usual_in(group: np.uint64, facts: Any) -> Any:
    """Return what is usual in a class. Shapes: [USUALS, USUAL] of int64; see `write_usual`."""
    out = np.zeros((USUALS, USUAL), np.int64)
    write_usual(group, facts, out)
    return out


@kernel
def follow_workload(state: Any, event: Any, clock_ms: int, known: Any, out: Any) -> int:
    """Judge and learn what an event adds to its workload; return the mask of parts that know.

    Shapes:   state: WORKLOAD; event: EVENT; known = (usual, refused, values): what
              `write_usual` writes, 1 for a believed refusal, which adds nothing, and the batch's
              values; out = (bits, details, scratch): bits
              [WORKLOAD_PARTS], details [WORKLOAD_PARTS, DETAILS] (they hold where bits are not 0),
              scratch [DETAILS], int64.
    Requires: clock_ms, the row's, never steps back.
    Mutates:  state, out.
    """
    usual, refused, values = known
    bits, details, scratch = out
    ready = 0
    for part in range(WORKLOAD_PARTS):
        bits[part] = 0
    requests = state["silence"], state["rates"][0], state["series"][0]
    learn_silence(requests, clock_ms, INTERVAL_MS)
    for part in range(RATES):
        rate = state["rates"][part]
        amount = int(amount_of(MEASURES[part], event, refused))
        measure = KINDS[part], INTERVAL_MS, scratch
        of = rate, state["series"][part]
        bits[part] = observe_rate(of, clock_ms, amount, measure, details[part])
        if is_rate_ready(rate):
            ready |= 1 << part
    is_call = event["kind"] == REQUEST and refused == 0 and event["outcome"] != REFUSED
    rates, series = state["rates"], state["series"]
    measure = COUNTED, INTERVAL_MS, scratch
    operations = state["operations"], rates[OPERATIONS_PART], series[OPERATIONS_PART]
    symbol = event["operation"] if is_call else np.uint64(0)
    found = details[OPERATIONS_PART]
    bits[OPERATIONS_PART] = observe_spread(operations, clock_ms, symbol, measure, found)
    resources = state["resources"], rates[RESOURCES_PART], series[RESOURCES_PART]
    first = np.int64(event["values_from"])
    named = values, first, first + (np.int64(event["values_count"]) if is_call else 0)
    found = details[RESOURCES_PART]
    bits[RESOURCES_PART] = observe_resources(resources, clock_ms, named, measure, found)
    for part in (OPERATIONS_PART, RESOURCES_PART):
        if is_rate_ready(rates[part]):
            ready |= 1 << part
    if is_call:
        for which in (ERROR, DENIAL):
            outcome = FAILED if which == ERROR else DENIED
            failed = 1 if event["outcome"] == outcome else 0
            call = failed, int(event["count"])
            part = ERROR_PART + which
            bits[part] = follow_usual(state["shares"][which], call, usual[which], details[part])
    return ready | 1 << ERROR_PART | 1 << DENIAL_PART


@kernel
def ask_silence(state: Any, at_ms: int, out: Any) -> int:
    """Judge how long a workload has said nothing; see `silence_bits`. Mutates: out."""
    requests = state["silence"], state["rates"][0], state["series"][0]
    return int(silence_bits(requests, at_ms, INTERVAL_MS, out))


@kernel
def allowed_silence(state: Any, alarms: int, per_ms: int) -> int:
    """Return how odd a silence of a workload may be; see `silence_allowed`."""
    requests = state["silence"], state["series"][0]
    return int(silence_allowed(requests, alarms, per_ms, INTERVAL_MS))


@kernel
def follow_context(state: Any, event: Any, effect: int, known: Any, out: Any) -> int:
    """Judge and remember a request in its context; return the mask of parts that know.

    Shapes:  state: CONTEXT_HABITS; event: EVENT, a request that we did not refuse; effect 0 or 1;
             known = (class, facts, values, usual): a hash of the values it named, 0 for none, and
             what `write_usual` writes of the class; out = (bits, details): bits [CONTEXT_PARTS],
             details [CONTEXT_PARTS, DETAILS] of int64.
    Mutates: state, out.
    """
    group, facts, values, usual = known
    bits, details = out
    operation, outcome = event["operation"], int(event["outcome"])
    for part in range(CONTEXT_PARTS):
        bits[part] = 0
    order = details[ORDER]
    call, of = (operation, effect), (group, facts)
    bits[ORDER] = follow_order(state["sequence"], call, of, usual[USUAL_ORDER], order)
    bits[FIRST_USE] = order[FIRST_PART]
    details[FIRST_USE, FIRST_HOW_PART] = order[FIRST_HOW_PART]
    # The same call is the same operation with the same values: paging through a list is no loop.
    symbol = mix64(operation, values) | np.uint64(1)
    failed = 1 if outcome in (FAILED, DENIED) else 0
    follow_loops(state["loops"], symbol, failed)
    how = int(usual[USUAL_LOOPS, 0])
    bits[LOOPED] = repeated_bits(state["loops"], how, of, details[LOOPED])
    denied = follow_fallback(state["fallback"], (operation, effect, outcome))
    if denied != np.uint64(0):
        bits[FELL_BACK] = fallback_bits(denied, operation, group, facts, details[FELL_BACK])
    ready = (1 << LOOPED) | (1 << FELL_BACK)
    if order[FIRST_HOW_PART] != UNREADY:
        ready |= 1 << FIRST_USE
    if order[HOW_PART] != UNREADY:
        ready |= 1 << ORDER
    return ready


def is_sound_context(state: Any) -> bool:
    """Tell whether kernels may follow what a stored CONTEXT_HABITS says."""
    return bool(state["loops"]["next"] < PERIODS and 0 <= state["fallback"]["left"] <= WITHIN)

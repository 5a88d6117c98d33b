"""Compiling ahead: every kernel of the step once, so that no event waits for it."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from stream.baselines import Baseline, Facts, decode_baseline, encode_baseline, no_view
from stream.enforcement import Expectation
from stream.engine import State, make_room, missed_now, step
from stream.events import Conditions, InForce, Request, encode_request, join_requests
from stream.kernel import HashKey
from stream.policy import AnomalySpec, ForbidSpec, LimitSpec, PolicySpec, RuleSpec, compile_policy
from stream.profiles import Arrival, Decoder
from stream.records import find_batches, read_batches


def warm() -> None:
    """Compile every kernel of the step, or load it from the cache, so that no event waits for it.

    Runs one event through decoding, the step, storing and restoring, and eviction; and what a
    broker answers through taking apart.
    """
    answer = np.frombuffer(b"", np.uint8)
    read_batches(answer, np.zeros((0, 2), np.int64), find_batches(answer))
    limit = LimitSpec(measure="requests", at_most=0, per="10s")
    volume = LimitSpec(measure="bytes", at_most=0, per="1m")
    forbid = ForbidSpec(first=("*",), then=("*",), within="1m")
    silence = AnomalySpec(of="silence", false_alarms="1 per workload per 30 days")
    policy = compile_policy(
        PolicySpec(
            name="warm",
            rules=(
                RuleSpec(name="limit", limit=limit, action="observe"),
                RuleSpec(name="volume", limit=volume, action="observe"),
                RuleSpec(name="forbid", forbid=forbid, action="observe"),
                RuleSpec(name="silence", anomaly=silence, action="observe"),
            ),
        )
    )
    key = HashKey(bytes(16))
    state, decoder = State(key, 64, 1), Decoder(key, 1, with_values=True)
    conditions = Conditions(
        nonce="warm", era=0, from_offset=0, policy_hash=policy.hash, policy_text=policy.text
    )
    state.adopt(0, conditions, policy)
    said = ("to:somebody", "note:\n")  # plain JSON only without the second
    event = Request(at_ms=1, workload="spiffe://warm/up", operation="warm", resources=said[:1])
    payload, odd = (encode_request(replace(event, resources=each)) for each in (said[:1], said))
    values = [payload, payload, join_requests([payload, odd])]
    decoder.decode([Arrival("warm", 0, range(3), [1] * 3, values)])
    batch, _ = decoder.decode([Arrival("warm", 0, [0, 1], [1, 1], [payload, payload])])
    step(state, batch)
    make_room(state, batch, state.table.slots_max)
    entries, groups, places = no_view()
    known = Baseline(Facts(key_id=key.id, tasks=0), entries[:0], groups, places)
    known = decode_baseline(encode_baseline(known), "warm")
    under = replace(conditions, baseline=InForce("warm"))
    state.adopt(0, under, policy, Expectation(known, "warm", key))
    later, _ = decoder.decode([Arrival("warm", 0, [2], [1], [payload])])
    step(state, later)
    row, name = state.stored([0])[0], batch.workload(0)
    ids = int(batch.events["workload"][0]), int(batch.events["home"][0]), 0
    missed_now(state, row, policy.bind(state.table.layout).silences, (1, 2))
    state.evict(0)
    state.restore(name, ids, row)

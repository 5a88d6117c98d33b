"""Learned evidence as lines of JSON, one an event."""

from __future__ import annotations

from typing import Any

import msgspec

from stream.baselines import BIT
from stream.detectors import CONTEXT_PARTS, HABIT_NAMES, MODES, PART_NAMES
from stream.replay import Scores

_encoder = msgspec.json.Encoder()


class ScoreLine(msgspec.Struct, omit_defaults=True):
    """What was known of a context after one event.

    `evidence_bits` is the most novelty that any call of the context had, or what is as rare as the
    habits of the context or its workload, `bits` the novelty of this one. `parts` is what novelty
    is made of before weights, and beside it the bits of each part of habits. `mode` says what it
    was compared with: a `known` purpose, other purposes for a `new` one, all of its class for an
    `undeclared` one. Without anything to compare with novelty is not `ready`; a part of habits that
    cannot know yet is among `unready`. Of these no evidence means nothing.
    """

    position: int
    id: str
    evidence_bits: float
    alarm: bool
    ready: bool
    mode: str
    bits: float | None = None
    exposed_bits: float = 0.0
    parts: dict[str, float] = {}
    unready: tuple[str, ...] = ()


def score_lines(scores: Scores) -> list[bytes]:
    """Return the lines of a batch."""
    positions = scores.positions.tolist()
    return [
        _encoder.encode(_line(position, name, row))
        for position, name, row in zip(positions, scores.ids, scores.rows, strict=True)
    ]


def _line(position: int, name: str, row: Any) -> ScoreLine:
    line = ScoreLine(
        position=position,
        id=name,
        evidence_bits=int(row["evidence"]) / BIT,
        alarm=bool(row["alarm"]),
        ready=bool(row["ready"]),
        mode=MODES[int(row["mode"])],
    )
    if row["is_call"] and row["ready"]:
        line.bits = int(row["bits"]) / BIT
        line.exposed_bits = int(row["exposed"]) / BIT
        parts = zip(PART_NAMES, row["parts"].tolist(), strict=True)
        # Known values are counted; all other parts are bits.
        line.parts = {
            part: value / (1 if part == "known" else BIT) for part, value in parts if value
        }
    bits, known = row["habits"].tolist(), int(row["known"])
    habits = zip(HABIT_NAMES, bits, strict=True)
    line.parts = line.parts | {part: value / BIT for part, value in habits if value}
    # Where nothing was called, there is nothing to be told of calls.
    asked = range(0 if row["is_call"] else CONTEXT_PARTS, len(HABIT_NAMES))
    line.unready = tuple(HABIT_NAMES[part] for part in asked if not known >> part & 1)
    return line

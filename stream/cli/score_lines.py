"""Learned evidence as lines of JSON, one an event."""

from __future__ import annotations

from typing import Any

import msgspec

from stream.baselines import BIT
from stream.detectors import MODES, PART_NAMES
from stream.replay import Scores

_encoder = msgspec.json.Encoder()


class ScoreLine(msgspec.Struct, omit_defaults=True):
    """What was known of a context after one event.

    `evidence_bits` is the most that any call of the context had, `bits` what this one had, `parts`
    what its novelty is made of before weights; `mode` says what it was compared with: a `known`
    purpose, other purposes for a `new` one, all of its class for an `undeclared` one. Without
    anything to compare with it is not `ready`, and no evidence means nothing.
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
    return line

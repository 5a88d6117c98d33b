"""Hostile files that operators hand to verbs: a baseline, an exported one, labels."""

from __future__ import annotations

import hashlib
from typing import Final

from stream.baselines import (
    decode_baseline,
    decode_portable,
    encode_baseline,
    encode_portable,
)
from stream.errors import ConfigError
from stream.evaluation import read_labels
from stream.events import TIME_MS_MAX

from .targets import Run, Target

DIGEST: Final = 32


def baselines() -> Run:
    """The bytes of a baseline."""

    def run(data: bytes) -> object:
        try:
            made = decode_baseline(data, "fuzz")
        except ConfigError as error:
            assert error.message.startswith("fuzz:")
            return error.message.partition(" ")[2][:20]
        assert 0 <= made.facts.from_ms <= TIME_MS_MAX
        again = decode_baseline(encode_baseline(made), "again")
        assert again.facts == made.facts
        assert again.listed.tobytes() == made.listed.tobytes()
        return len(made.listed)

    return run


def exported() -> Run:
    """An exported baseline."""

    def run(data: bytes) -> object:
        try:
            found = decode_portable(data, "fuzz")
        except ConfigError as error:
            assert error.message.startswith("fuzz:")
            return error.message.partition(" ")[2][:20]
        assert encode_portable(found.data, found.signed) == data
        return found.manifest.version

    return run


def labels() -> Run:
    """A file of labels."""

    def run(data: bytes) -> object:
        try:
            found = read_labels(data.splitlines(), "fuzz")
        except ConfigError as error:
            assert error.message.startswith("fuzz:")
            return type(error)
        assert {name for name, is_attack in found.events.items() if is_attack} <= found.firsts
        return len(found.events), len(found.tasks)

    return run


def rehashed(data: bytes) -> bytes:
    """A baseline with the right hash, as whoever makes one up would write it."""
    body = data[:-DIGEST]
    return body + hashlib.sha256(body).digest()


FILES: Final[dict[str, Target]] = {
    "baselines": Target(baselines, "baselines", 30, rehashed),
    "exported": Target(exported, "exported", 20),
    "labels": Target(labels, "labels", 30),
}

"""What is in force on a row, as its records say it; and the tail of the stored row that keeps it.

The tail of a row is a list of commands, or, where its workload's habits are known, an object with
them and the workload's name: whoever is silent sends no event that would name it (format 3).
"""

from __future__ import annotations

from typing import Any

import msgspec

from stream.events import SUBJECT_KINDS, Command, Subject
from stream.kernel import HashKey
from stream.policy import stable_id
from stream.profiles import token_text

Held = dict[tuple[int, int, int], Command]  # (rule id, subject kind, subject hash) -> command


class _Tail(msgspec.Struct, frozen=True, omit_defaults=True):
    workload: str
    held: list[Command] = []


_decoder: msgspec.json.Decoder[list[Command] | _Tail] = msgspec.json.Decoder(list[Command] | _Tail)
_encoder = msgspec.json.Encoder()


def subject_hash(key: HashKey, subject: Subject) -> int:
    """Return the keyed hash a row keeps of a command's subject; 0 for the workload."""
    if subject.token is not None:
        return key.hash(token_text(subject.token.issuer, subject.token.id))
    text = subject.task or subject.operation
    return key.hash(text) if text else 0


def restore_held(key: HashKey, tail: bytes) -> Held:
    """Return what a stored row's tail says is in force.

    Errors: ValueError when the tail is not ours.
    """
    held: Held = {}
    found: Any = _decoder.decode(tail) if tail else []
    for command in found.held if isinstance(found, _Tail) else found:
        body = command.body
        kind = SUBJECT_KINDS.index(body.subject.kind)
        held[stable_id("rule", body.rule), kind, subject_hash(key, body.subject)] = command
    return held


def held_tail(held: Held, workload: str = "") -> bytes:
    """Return the bytes that `restore_held` reads back, with a name or without."""
    if workload:
        return _encoder.encode(_Tail(workload, list(held.values())))
    return _encoder.encode(list(held.values())) if held else b""


def workload_of(tail: bytes) -> str:
    """Return the name in a stored row's tail, empty where it has none.

    Errors: ValueError when the tail is not ours.
    """
    found = _decoder.decode(tail) if tail else []
    return found.workload if isinstance(found, _Tail) else ""

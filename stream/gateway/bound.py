"""All that binds one workload: commands on it, on its tasks, tokens and operations, and acts.

Estate-wide commands (a task or a token of any workload) are a `Bound` of their own.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from stream.events import TIME_MS_MAX, OperatorRecord, Subject, TokenRef

from .binding import Binding, inherit_buckets, replaced
from .fitting import clip_label, clip_operation, clip_token
from .verdict import ALLOW, Cause, Verdict

NONE: Final[tuple[Binding, ...]] = ()
_Key = TypeVar("_Key", str, TokenRef)


class Acts(msgspec.Struct, frozen=True, gc=False):
    """What operators have in force on one workload or on everything, compiled.

    Units: Unix milliseconds. `free_until_ms`: until then nothing is enforced (`stop` on
    everything, `exempt` on a workload), 0 if no act says so; `free` says who and why.
    Commands caused before `lifted_before_ms` are cancelled until `lift_until_ms`.
    """

    free_until_ms: int = 0
    free: Verdict = ALLOW
    lifted_before_ms: int = 0
    lift_until_ms: int = 0


def acts_of(record: OperatorRecord, append_ms: int) -> Acts:
    """Return a record of operators' acts compiled; the longest stop or exemption counts.

    A lift reaches back from the append time of the record it came in.
    """
    wanted = "exempt" if record.workload else "stop"
    free = max(
        (act for act in record.acts if act.act == wanted),
        key=lambda act: act.until_ms,
        default=None,
    )
    lifts = [act.until_ms or TIME_MS_MAX for act in record.acts if act.act == "lift"]
    verdict = ALLOW
    if free is not None:
        what = "this workload is exempt by" if record.workload else "enforcement is stopped by"
        reason = f"{what} {free.by or 'an operator'}: {free.reason}"
        verdict = Verdict("allow", source=Cause(action=wanted, reason=reason))
    return Acts(
        free_until_ms=free.until_ms if free is not None else 0,
        free=verdict,
        lifted_before_ms=append_ms if lifts else 0,
        lift_until_ms=max(lifts, default=0),
    )


def is_sound_operator(record: OperatorRecord) -> bool:
    """Tell whether every act of a record makes sense where it stands."""
    allowed = ("exempt", "lift") if record.workload else ("stop", "lift")
    return all(
        act.act in allowed
        and 0 <= act.until_ms <= TIME_MS_MAX
        and (act.until_ms > 0 or act.act == "lift")
        for act in record.acts
    )


class Bound(msgspec.Struct, gc=False):
    """What binds one workload, each tuple strongest first; a missing table is an empty one."""

    everything: tuple[Binding, ...] = NONE
    tasks: dict[str, tuple[Binding, ...]] | None = None
    tokens: dict[TokenRef, tuple[Binding, ...]] | None = None
    operations: dict[str, tuple[Binding, ...]] | None = None
    acts: Acts | None = None

    def on(self, operation: str, task: str, token: TokenRef | None) -> tuple[Binding, ...]:
        """Return all that binds a request; not sorted across levels, nor free of the expired."""
        found = self.everything
        # The event of this request will name what fits, so what binds is asked for by the same.
        if self.operations is not None:
            found += self.operations.get(clip_operation(operation), NONE)
        if self.tasks is not None and task:
            found += self.tasks.get(clip_label(task), NONE)
        if self.tokens is not None and token is not None:
            found += self.tokens.get(clip_token(token), NONE)
        return found

    def put(self, subject: Subject, issuer: str, bindings: tuple[Binding, ...]) -> None:
        """Let `bindings` be all that one issuer has in force on a subject of this workload.

        Mutates: self.
        """
        if subject.task:
            self.tasks = _put(self.tasks, subject.task, issuer, bindings)
        elif subject.token is not None:
            self.tokens = _put(self.tokens, subject.token, issuer, bindings)
        elif subject.operation:
            self.operations = _put(self.operations, subject.operation, issuer, bindings)
        else:
            self.everything = replaced(self.everything, issuer, bindings)

    def of(self, subject: Subject) -> tuple[Binding, ...]:
        """Return what binds exactly one subject of this workload, from all issuers."""
        if subject.task:
            return (self.tasks or {}).get(subject.task, NONE)
        if subject.token is not None:
            return (self.tokens or {}).get(subject.token, NONE)
        if subject.operation:
            return (self.operations or {}).get(subject.operation, NONE)
        return self.everything

    def inherit(self, earlier: Bound) -> None:
        """Go on with the buckets of the throttles that an earlier table had on the same subjects.

        Mutates: the buckets of self.
        """
        inherit_buckets(self.everything, earlier.everything)
        _inherit(self.tasks, earlier.tasks)
        _inherit(self.tokens, earlier.tokens)
        _inherit(self.operations, earlier.operations)

    @property
    def single(self) -> Binding | None:
        """Return the one command that is all there is, None if there is more or less."""
        is_more = self.tasks or self.tokens or self.operations or self.acts is not None
        return self.everything[0] if len(self.everything) == 1 and not is_more else None

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing binds and nothing exempts."""
        return not (self.everything or self.tasks or self.tokens or self.operations or self.acts)


def _put(
    held: dict[_Key, tuple[Binding, ...]] | None,
    key: _Key,
    issuer: str,
    bindings: tuple[Binding, ...],
) -> dict[_Key, tuple[Binding, ...]] | None:
    """Return the table with one subject replaced; None when nothing is left in it."""
    table = held if held is not None else {}
    left = replaced(table.get(key, NONE), issuer, bindings)
    if left:
        table[key] = left
    else:
        table.pop(key, None)
    return table or None


def _inherit(
    table: dict[_Key, tuple[Binding, ...]] | None, earlier: dict[_Key, tuple[Binding, ...]] | None
) -> None:
    """Carry the buckets of one kind of subject over."""
    if table is not None and earlier is not None:
        for key, bindings in table.items():
            inherit_buckets(bindings, earlier.get(key, NONE))

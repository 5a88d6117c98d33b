"""The table of commands in force: records of the topic `enforcement` in, verdicts out.

Pure: no I/O, and time comes as an argument. What it holds is a function of the records applied, in
their order within each Kafka partition, however they are cut into pieces. Every byte may be
forged, late, huge or repeated: a record is taken whole or not at all, and what is not taken is
counted by why. Memory is bounded by `TableSpec`; beyond it new subjects are refused and the state
is `overflow`, never a table that silently lacks some.

What outranks what: a stop, then an exemption, then what a gateway that does not know says by its
mode, then the commands: revoke, hold, throttle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from stream.bus import Record
from stream.events import (
    TIME_MS_MAX,
    Command,
    Heartbeat,
    OperatorRecord,
    Signed,
    SubjectRecord,
    TokenRef,
    decode_value,
    split_signature,
)
from stream.signing import Trust

from .binding import RANKS, Binding, Denial, Throttle, bindings_of, inherit_buckets
from .bound import NONE, Acts, Bound, acts_of
from .guard import REFUSALS, Guard, Refusal
from .holdings import Holding, Holdings, Kept
from .homes import Homes, HomeState, StateName
from .intake import KEY_BYTES_MAX, Fault, read_value
from .judge import judge, judge_one
from .spec import TableSpec
from .verdict import ALLOW, STATUS_DENY, STATUS_UNKNOWING, Cause, Verdict

Applied = Kept | Fault | Refusal | Literal["heartbeat"]
"""What became of one record: `applied`, `removed` and `heartbeat` changed something."""

OUTCOMES: Final[tuple[Applied, ...]] = (
    "applied",
    "removed",
    "heartbeat",
    "unchanged",
    "older",
    "malformed",
    "foreign_format",
    "misplaced",
    "overflow",
    *REFUSALS,
)
RETRY_UNKNOWING_MS: Final = 1_000
SIGNED_END: Final = b'"}}'
"""How a signed record ends: what ends otherwise need not be taken apart."""

UNSIGNED: Final = Signed(b"", "", b"")


class CommandTable:
    """All that is in force, by workload; `check` answers from it, `apply` changes it.

    `log_partitions` is the number of partitions of the topic; records of home partition p are
    believed only in p mod that. `trust` are the keys without whose signature nothing is believed.
    """

    def __init__(self, spec: TableSpec, log_partitions: int, trust: Trust | None = None) -> None:
        self._spec = spec
        self._log_partitions = log_partitions
        self._homes = Homes(spec.heartbeats_missed_max)
        self._holdings = Holdings(spec, self._homes, is_keyed=trust is not None)
        self._guard: Guard | None = None
        if trust is not None:
            self._guard = Guard(trust, self._holdings, self._homes, spec.tombstone_after_ms)
        # A workload bound by one command, the usual case, has that in place of a Bound: the reads
        # of cold memory that this saves are a third of a check.
        self._bound: dict[str, Binding | Bound] = {}
        self._estate: Bound | None = None
        self._acts = Acts()
        # Whether any lift was ever seen: most tables never ask for what it cancels. Where there is
        # neither a lift nor anything estate-wide, one look-up decides.
        self._lifts = False
        self._is_loading = True
        self._is_simple = True
        # What is known holds in these times, if nothing more is heard: the name of the state, and
        # that nothing but commands decides. From when on, because a clock may step back.
        self._state: StateName = "loading"
        self._state_from_ms = 0
        self._state_until_ms = 0
        self._plain_from_ms = 0
        self._plain_until_ms = 0
        self._counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)

    def __len__(self) -> int:
        """Return the number of records held, operators' included."""
        return len(self._holdings)

    @property
    def bytes_held(self) -> int:
        """Return the sum of the sizes of the keys and values held."""
        return self._holdings.bytes_held

    @property
    def signed_by(self) -> dict[str, int]:
        """Return how many records are held by the id of the key they are signed with."""
        return self._holdings.signed_by

    @property
    def warned(self) -> dict[str, int]:
        """Return how many records a mode `require` would have refused, by why."""
        return dict(self._guard.warned) if self._guard is not None else {}

    @property
    def counts(self) -> Counter[str]:
        """Return what became of the records applied until now."""
        return Counter(self._counts)

    @property
    def is_loading(self) -> bool:
        """Tell whether the initial read has not reached the end of the log yet."""
        return self._is_loading

    def check(
        self,
        now_ms: int,
        workload: str,
        operation: str,
        task: str = "",
        token: TokenRef | None = None,
    ) -> Verdict:
        """Return what holds for a request at a time.

        Requires: `workload` is canonical (`stream.identity.canonical_workload`).
        Cost:     one look-up when nothing binds the workload.
        Mutates:  the buckets of the throttles that bind the request.
        """
        held = self._bound.get(workload)
        if not self._plain_from_ms <= now_ms < self._plain_until_ms:
            verdict = self._overriding(now_ms, workload)
            if verdict is not None:
                return verdict
        if self._is_simple:
            if held is None:
                return ALLOW
            if type(held) is Denial:
                if now_ms < held.sure_until_ms or now_ms < held.expires_at_ms:
                    return Verdict("deny", STATUS_DENY, held, now_ms)
                return ALLOW
            if type(held) is Throttle:
                if now_ms < held.sure_until_ms or now_ms < held.expires_at_ms:
                    return held.verdict(now_ms)
                return ALLOW
        if self._estate is None:
            if held is None:
                return ALLOW
            if isinstance(held, Binding):
                lifted_ms = self._lifted_ms(now_ms, None) if self._lifts else 0
                return judge_one(held, now_ms, lifted_ms)
        return self._check_all(now_ms, self.bound(workload), operation, task, token)

    def _check_all(
        self, now_ms: int, bound: Bound | None, operation: str, task: str, token: TokenRef | None
    ) -> Verdict:
        """Return what holds for a request that more than one command may bind."""
        found = NONE
        if bound is not None:
            acts = bound.acts
            if acts is not None and now_ms < acts.free_until_ms:
                return acts.free
            found = bound.on(operation, task, token)
        if self._estate is not None:
            found += self._estate.on(operation, task, token)
        if not found:
            return ALLOW
        return judge(found, now_ms, self._lifted_ms(now_ms, bound) if self._lifts else 0)

    def apply(self, record: Record) -> Applied:
        """Take one record of the log; return what became of it, which is counted too.

        Requires: records of one Kafka partition come in their order.
        """
        outcome = self._apply(record)
        self._counts[outcome] += 1
        return outcome

    def finish_loading(self) -> None:
        """Say that the initial read has reached the end of the log."""
        self._is_loading = False

    def inherit(self, earlier: CommandTable) -> None:
        """Go on with the buckets of the throttles that an earlier table of the log had too."""
        for workload, new in self._bound.items():
            old = earlier._bound.get(workload) if type(new) is not Denial else None
            if type(new) is type(old) is Throttle:
                inherit_buckets((new,), (old,))
            elif old is not None:
                _as_bound(new).inherit(_as_bound(old))
        if self._estate is not None and earlier._estate is not None:
            self._estate.inherit(earlier._estate)

    def bound(self, workload: str) -> Bound | None:
        """Return all that binds a workload, or, for an empty one, what is bound estate-wide."""
        if not workload:
            return self._estate
        held = self._bound.get(workload)
        return None if held is None else _as_bound(held)

    def state(self, now_ms: int) -> StateName:
        """Return the name of what is known of the table's truth at a time."""
        if self._is_loading:
            return "loading"
        if not self._state_from_ms <= now_ms < self._state_until_ms:
            self._state, self._state_until_ms = self._homes.state_at(now_ms)
            self._state_from_ms = now_ms
            if self._holdings.overflowed:
                self._state, self._state_until_ms = "overflow", TIME_MS_MAX
        return self._state

    def homes(self, now_ms: int) -> tuple[HomeState, ...]:
        """Return the state of each home partition."""
        return self._homes.states_at(now_ms)

    def home_count(self, now_ms: int) -> int:
        """Return the number of home partitions, 0 while no heartbeat has said."""
        return self._homes.expected(now_ms)

    def in_force(self, now_ms: int) -> Iterator[Command]:
        """Return the commands that bind at a time, in shadow too, without those that are lifted.

        Cost: decodes each record held.
        """
        for held in self._holdings:
            value = decode_value(held.value)
            if not isinstance(value, SubjectRecord):
                continue
            lifted_ms = self._lifted_ms(now_ms, self.bound(value.subject.workload))
            for command in value.commands:
                is_live = now_ms < command.expires_at_ms and command.caused_at_ms >= lifted_ms
                if is_live and command.body.action in RANKS:
                    yield command

    def operators(self) -> Iterator[OperatorRecord]:
        """Return the records of operators' acts, ended acts included."""
        for held in self._holdings:
            value = decode_value(held.value)
            if isinstance(value, OperatorRecord):
                yield value

    def _overriding(self, now_ms: int, workload: str) -> Verdict | None:
        """Return the verdict that outranks every command, or None if the commands decide.

        Mutates: the times in which this need not be asked again.
        """
        if now_ms < self._acts.free_until_ms:
            return self._acts.free
        if self._spec.mode == "last":
            self._plain_from_ms, self._plain_until_ms = now_ms, TIME_MS_MAX
            return None
        state = self.state(now_ms)
        if state == "ready":
            self._plain_from_ms, self._plain_until_ms = now_ms, self._state_until_ms
            return None
        held = self._bound.get(workload)
        if isinstance(held, Bound) and held.acts is not None and now_ms < held.acts.free_until_ms:
            return held.acts.free
        mode = self._spec.mode
        reason = f"the gateway does not know what is in force ({state}), its mode is {mode}"
        cause = Cause(action=state, reason=reason)
        if mode == "open":
            return Verdict("allow", source=cause)
        return Verdict("deny", STATUS_UNKNOWING, cause, 0, RETRY_UNKNOWING_MS)

    def _lifted_ms(self, now_ms: int, bound: Bound | None) -> int:
        """Return the time before which commands on a workload were caused that are cancelled."""
        lifted_ms = self._acts.lifted_before_ms if now_ms < self._acts.lift_until_ms else 0
        acts = bound.acts if bound is not None else None
        if acts is not None and now_ms < acts.lift_until_ms:
            return max(lifted_ms, acts.lifted_before_ms)
        return lifted_ms

    def _doubt(self) -> None:
        """Let the next check ask again what is known."""
        self._state_until_ms = 0
        self._plain_until_ms = 0

    def _apply(self, record: Record) -> Applied:
        key, payload = record.key, record.value
        if key is None or len(key) > KEY_BYTES_MAX:
            return "malformed"
        if payload is None:
            return self._end(record)
        signed = UNSIGNED
        if self._guard is not None or payload.endswith(SIGNED_END):
            signed = split_signature(payload)
            if signed.key_id:
                payload = signed.payload
                record = record._replace(value=payload)
        value = read_value(record, self._log_partitions)
        if isinstance(value, str):
            return value
        if self._guard is not None:
            refusal = self._guard.refusal(record, signed, value)
            if refusal is not None:
                return refusal
        if isinstance(value, Heartbeat):
            return self._hear(value, record.append_ms)
        # A later owner of the home partition was met before who published this.
        if isinstance(value, SubjectRecord) and value.issuer == "home":  # noqa: SIM102  # narrows
            if not self._homes.meet(value.partition, value.epoch):
                return "older"
        kept = self._holdings.hold(record, value, signed.key_id)
        if kept == "applied":
            self._bind(value, payload, record.append_ms)
        elif kept == "overflow":
            self._doubt()
        return kept

    def _end(self, record: Record) -> Applied:
        """Hold nothing of a tombstone's key any more."""
        if self._guard is not None:
            refusal = self._guard.tombstone_refusal(record)
            if refusal is not None:
                return refusal
        kept, held = self._holdings.remove(record)
        if held is not None:
            self._unbind(held)
        return kept

    def _hear(self, heartbeat: Heartbeat, append_ms: int) -> Applied:
        """Compare what is held with what a home partition's owner says that it published."""
        is_heard = self._homes.hear(heartbeat, append_ms)
        if self._guard is not None and is_heard:
            forgotten = self._guard.forgotten(heartbeat)
            for held in forgotten:
                self._unbind(held)
            if forgotten:
                self._homes.hear(heartbeat, append_ms)
        self._doubt()
        return "heartbeat" if is_heard else "older"

    def _bind(self, value: SubjectRecord | OperatorRecord, payload: bytes, append_ms: int) -> None:
        """Let checks see a record that is held from now on."""
        if isinstance(value, SubjectRecord):
            subject, workload = value.subject, value.subject.workload
            bindings = bindings_of(value, payload)
            held = self._bound.get(workload) if workload else self._estate
            if held is None and len(bindings) == 1 and subject.kind == "workload":
                self._bound[workload] = bindings[0]
                return
            bound = Bound() if held is None else _as_bound(held)
            inherit_buckets(bindings, bound.of(subject))
            bound.put(subject, value.issuer, bindings)
            self._put(workload, bound)
        else:
            if self._guard is not None:
                said_ms = max((act.at_ms for act in value.acts if act.act == "lift"), default=0)
                append_ms = self._guard.lifts_before_ms(append_ms, said_ms)
            self._set_acts(value.workload, acts_of(value, append_ms))

    def _unbind(self, held: Holding) -> None:
        """Let checks see no more of a record that is not held any longer."""
        value = decode_value(held.value)
        if isinstance(value, SubjectRecord):
            bound = self.bound(value.subject.workload)
            if bound is not None:
                bound.put(value.subject, value.issuer, ())
                self._put(value.subject.workload, bound)
        elif isinstance(value, OperatorRecord):
            self._set_acts(value.workload, None)

    def _set_acts(self, workload: str, acts: Acts | None) -> None:
        self._lifts = self._lifts or (acts is not None and acts.lift_until_ms > 0)
        self._is_simple = self._estate is None and not self._lifts
        if workload:
            bound = self.bound(workload) or Bound()
            bound.acts = acts
            self._put(workload, bound)
        else:
            self._acts = acts or Acts()
            self._doubt()

    def _put(self, workload: str, bound: Bound) -> None:
        """Keep what binds a workload, or nothing of it if it is empty."""
        if not workload:
            self._estate = None if bound.is_empty else bound
            self._is_simple = self._estate is None and not self._lifts
        elif bound.is_empty:
            self._bound.pop(workload, None)
        else:
            self._bound[workload] = bound.single or bound


def _as_bound(held: Binding | Bound) -> Bound:
    """Return what binds a workload, where one command stands for it too."""
    return Bound((held,)) if isinstance(held, Binding) else held

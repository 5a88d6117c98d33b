"""A slow model of a gateway's table: keeps every record, and works out each answer from all."""

from collections.abc import Sequence

from stream.bus import Record
from stream.events import (
    Command,
    Heartbeat,
    OperatorRecord,
    SubjectRecord,
    TokenRef,
    decode_value,
    record_hash,
)

RANK = {"throttle": 1, "hold": 2, "revoke": 3}


class TableModel:
    """Believes what is sound; the tests that use it send what is sound, or what nobody decodes.

    Throttles here let nothing pass, so a verdict does not depend on the verdicts before.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.held: dict[bytes, tuple[Record, SubjectRecord | OperatorRecord]] = {}
        self.heard: dict[int, tuple[Heartbeat, bool]] = {}
        self.epochs: dict[int, int] = {}
        self.proven: dict[int, int] = {}
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        key = record.key or b""
        if record.value is None:
            self.held.pop(key, None)
            return
        try:
            value = decode_value(record.value)
        except (ValueError, RecursionError):
            return
        if not isinstance(value, OperatorRecord) and getattr(value, "issuer", "home") == "home":
            latest = self.epochs.get(value.partition, 0)
            if 0 < value.epoch < latest:
                return
            self.epochs[value.partition] = max(latest, value.epoch)
        if isinstance(value, Heartbeat):
            known = self.heard.get(value.partition)
            proven = self.proven.get(value.partition, 0)
            is_later = known is None or value.version >= known[0].version or value.epoch > proven
            if value.complete and is_later:
                self.proven[value.partition] = max(proven, value.epoch)
                matches = (value.records, int(value.digest, 16)) == self.account(value.partition)
                self.heard[value.partition] = value, matches
            return
        old = self.held.get(key)
        if isinstance(value, SubjectRecord) and old is not None:
            assert isinstance(old[1], SubjectRecord)
            if (value.version, value.epoch) < (old[1].version, old[1].epoch):
                return
        self.held[key] = record, value

    def account(self, partition: int) -> tuple[int, int]:
        """Number and digest of the records of a home partition."""
        hashes = [
            record_hash(record.key or b"", record.value or b"")
            for record, value in self.held.values()
            if isinstance(value, SubjectRecord)
            and value.issuer == "home"
            and value.partition == partition
        ]
        return len(hashes), sum(hashes) % (1 << 64)

    def state(self, now_ms: int, missed_max: int) -> str:
        """The name of the state, once loaded."""
        partitions = max((beat.partitions for beat, _ in self.heard.values()), default=0)
        beats = [self.heard.get(partition) for partition in range(partitions)]
        if any(beat is not None and not beat[1] for beat in beats):
            return "mismatch"
        fresh = [
            beat is not None and now_ms < beat[0].at_ms + missed_max * beat[0].every_ms
            for beat in beats
        ]
        return "ready" if fresh and all(fresh) else "stale"

    def in_force(self, now_ms: int) -> list[Command]:
        """All commands that bind at a time."""
        return [
            command
            for _, value in self.held.values()
            if isinstance(value, SubjectRecord)
            for command in value.commands
            if command.body.action in RANK
            and now_ms < command.expires_at_ms
            and command.caused_at_ms >= self._lifted_ms(now_ms, value.subject.workload)
        ]

    def check(
        self, now_ms: int, workload: str, operation: str, task: str, token: TokenRef | None
    ) -> tuple[str, set[str], set[str]]:
        """Decision, the commands it may rest on, and the commands in shadow that would refuse."""
        if self._is_free(now_ms, "", "stop") or self._is_free(now_ms, workload, "exempt"):
            return "allow", {""}, set()
        binding = []
        for command in self.in_force(now_ms):
            subject = command.body.subject
            asked = {
                "workload": True,
                "task": subject.task == task,
                "token": subject.token == token,
                "operation": subject.operation == operation,
            }
            lifted_ms = self._lifted_ms(now_ms, workload)
            if subject.workload in ("", workload) and asked[subject.kind]:
                binding += [command] if command.caused_at_ms >= lifted_ms else []
        shadow = {each.id for each in binding if each.body.mode == "shadow"}
        enforced = [each for each in binding if each.body.mode == "enforce"]
        strongest = max((RANK[each.body.action] for each in enforced), default=0)
        if not strongest:
            return "allow", {""}, shadow
        among = [each for each in enforced if RANK[each.body.action] == strongest]
        longest = max(each.expires_at_ms for each in among)
        ids = {each.id for each in among if each.expires_at_ms == longest}
        return ("deny" if strongest > 1 else "throttle"), ids, shadow

    def _acts(self, workload: str) -> tuple[int, OperatorRecord | None]:
        for record, value in self.held.values():
            if isinstance(value, OperatorRecord) and value.workload == workload:
                return record.append_ms, value
        return 0, None

    def _is_free(self, now_ms: int, workload: str, what: str) -> bool:
        _, record = self._acts(workload)
        acts = record.acts if record is not None else ()
        return any(act.act == what and now_ms < act.until_ms for act in acts)

    def _lifted_ms(self, now_ms: int, workload: str) -> int:
        times = [0]
        for each in {"", workload}:
            append_ms, record = self._acts(each)
            acts = record.acts if record is not None else ()
            lifts = [act.until_ms for act in acts if act.act == "lift"]
            if any(until_ms == 0 or now_ms < until_ms for until_ms in lifts):
                times.append(append_ms)
        return max(times)

"""What a gateway says of one request, and why."""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec

Decision = Literal["allow", "throttle", "deny"]
STATUS_THROTTLE: Final = 429
STATUS_DENY: Final = 403
STATUS_UNKNOWING: Final = 503
"""The gateway denies because it does not know (mode `closed`): no fault of the caller's."""


class WouldHave(msgspec.Struct, frozen=True, gc=False):
    """What a command in shadow would have said, had it been in force."""

    decision: Decision
    rule: str
    command: str


class Cause(msgspec.Struct, frozen=True, gc=False):
    """What a verdict rests on, made once and shared by all verdicts that rest on it.

    `action` is the rung of the ladder (throttle, hold, revoke), or `stop`, `exempt`, or the state
    of a gateway that does not know; `rule` and `command` name the command, `reason` is for people.
    """

    action: str = ""
    rule: str = ""
    reason: str = ""
    command: str = ""

    @property
    def expires_at_ms(self) -> int:
        """Return 0: it says nothing of an end."""
        return 0

    @property
    def told(self) -> Cause:
        """Return this."""
        return self


NO_CAUSE: Final = Cause()


class Source(Protocol):
    """What a verdict rests on: a cause, or what can tell it when somebody asks."""

    @property
    def action(self) -> str:
        """The rung of the ladder, or what else decided."""
        ...

    @property
    def expires_at_ms(self) -> int:
        """Until when it lasts, in Unix milliseconds; 0 where nothing says so."""
        ...

    @property
    def told(self) -> Cause:
        """The cause."""
        ...


class Verdict(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A decision about one request, and its cause.

    `status` is the HTTP status that says the same, `at_ms` when a command denied, `wait_ms` how
    long to wait where something else than that command's end says so.

    Two verdicts are equal when they say the same. Cause and end are read from the command only
    when they are asked for: most refusals are counted, and never told.
    """

    decision: Decision
    status: int = 200
    source: Source = NO_CAUSE
    at_ms: int = 0
    wait_ms: int = 0
    shadow: tuple[WouldHave, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Tell whether another verdict says the same, whatever it was read from."""
        return isinstance(other, Verdict) and self._said() == other._said()

    def __hash__(self) -> int:
        """Hash what is said."""
        return hash(self._said())

    def _said(self) -> tuple[Decision, int, Cause, int, tuple[WouldHave, ...]]:
        return self.decision, self.status, self.cause, self.retry_after_ms, self.shadow

    @property
    def is_allowed(self) -> bool:
        """Tell whether the request may pass."""
        return self.decision == "allow"

    @property
    def retry_after_ms(self) -> int:
        """Return how long to wait: 0 for nothing, for a denial until the command expires."""
        return self.source.expires_at_ms - self.at_ms if self.at_ms else self.wait_ms

    @property
    def cause(self) -> Cause:
        """Return what the verdict rests on.

        Cost: the first time for a command, one decoding of its record.
        """
        return self.source.told

    @property
    def action(self) -> str:
        """Return the rung of the ladder, or what else decided."""
        return self.source.action

    @property
    def rule(self) -> str:
        """Return the name of the rule, empty where none decided."""
        return self.cause.rule

    @property
    def reason(self) -> str:
        """Return why, for a person to read."""
        return self.cause.reason

    @property
    def command(self) -> str:
        """Return the id of the command, empty where none decided."""
        return self.cause.command


ALLOW: Final = Verdict("allow")
"""The verdict on whom nothing binds: one object, so the common case makes none."""

"""What a gateway says of one request, and why."""

from __future__ import annotations

from typing import Final, Literal

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


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A decision about one request; `rule` and `command` name what it rests on.

    Units: `retry_after_ms` is 0 where nothing has to be waited for; for a denial it is the time
    until the command expires. `status` is the HTTP status that says the same. `action` is the
    rung of the ladder (throttle, hold, revoke), or `stop`, `exempt`, or the state of a gateway
    that does not know.
    """

    decision: Decision
    status: int = 200
    action: str = ""
    rule: str = ""
    reason: str = ""
    retry_after_ms: int = 0
    command: str = ""
    shadow: tuple[WouldHave, ...] = ()

    @property
    def is_allowed(self) -> bool:
        """Tell whether the request may pass."""
        return self.decision == "allow"


ALLOW: Final = Verdict("allow")
"""The verdict on whom nothing binds: one object, so the common case makes none."""

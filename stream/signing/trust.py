"""Who verifies: several keys, each with what it may sign and when; why a record is not believed.

When is judged by the broker's append time, which no producer chooses (LogAppendTime): a record that
was appended while its key was good stays good after the key is retired, and whoever has a retired
key can append nothing more under it. A key that was stolen must be taken out altogether.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from stream.errors import ConfigError
from stream.events import (
    EnforcementValue,
    OperatorRecord,
    Signed,
    SubjectRecord,
    signed_message,
)

from .jwk import Jwk, Role, verifying_function

SignatureFault = Literal[
    "unsigned", "unknown_key", "wrong_role", "early_key", "retired_key", "forged"
]
FAULTS: Final[tuple[SignatureFault, ...]] = (
    "unsigned",
    "unknown_key",
    "wrong_role",
    "early_key",
    "retired_key",
    "forged",
)
KEYS_MAX: Final = 64

Place = tuple[str, str]
"""Installation and topic: a record signed for one counts on no other."""


class _Trusted(NamedTuple):
    role: Role
    from_ms: int
    until_ms: int
    holds: Callable[[bytes, bytes], bool]


class Trust:
    """The keys that are believed. `is_strict`: what has a fault is refused, else only counted."""

    def __init__(self, keys: Sequence[Jwk], place: Place, *, is_strict: bool) -> None:
        if not 1 <= len(keys) <= KEYS_MAX:
            raise ConfigError(f"{len(keys)} keys to verify with, where 1 to {KEYS_MAX} are allowed")
        self.is_strict = is_strict
        self._given, self._place = tuple(keys), place
        self._keys: dict[str, _Trusted] = {}
        for key in keys:
            if key.kid in self._keys:
                raise ConfigError(f"two keys to verify with have the id {key.kid}")
            until_ms = key.exp * 1_000 or 1 << 62
            self._keys[key.kid] = _Trusted(
                key.role, key.nbf * 1_000, until_ms, verifying_function(key)
            )

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Return the ids of all keys."""
        return tuple(self._keys)

    def on(self, topic: str) -> Trust:
        """Return the same keys as they are believed on another topic of the installation."""
        return Trust(self._given, (self._place[0], topic), is_strict=self.is_strict)

    def fault_of(
        self, key: bytes, append_ms: int, signed: Signed, value: EnforcementValue
    ) -> SignatureFault | None:
        """Return why a record is not believed, None if it is.

        Requires: `value` is what `signed.payload` says, and belongs under `key`.
        Cost:     some 150 us for Ed25519, 6 us for HMAC.
        """
        return self.fault_in(role_of(value), key, append_ms, signed)

    def fault_in(self, role: Role, key: bytes, at_ms: int, signed: Signed) -> SignatureFault | None:
        """Return why what only a role may sign is not believed at a time, None if it is."""
        if not signed.key_id:
            return "unsigned"
        trusted = self._keys.get(signed.key_id)
        if trusted is None:
            return "unknown_key"
        if trusted.role != role:
            return "wrong_role"
        if at_ms < trusted.from_ms:
            return "early_key"
        if at_ms >= trusted.until_ms:
            return "retired_key"
        message = signed_message(signed.key_id, self._place, key, signed.payload)
        return None if trusted.holds(message, signed.signature) else "forged"


def role_of(value: EnforcementValue) -> Role:
    """Return the role whose keys may sign a record."""
    is_acts = isinstance(value, OperatorRecord)
    is_operators = isinstance(value, SubjectRecord) and value.issuer == "operator"
    return "operator" if is_acts or is_operators else "worker"

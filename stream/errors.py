"""The errors that somebody acts on differently; STYLE section 6 is their table.

A fault in one event is not here: it is data (`stream.events.RejectCode`), counted and
dead-lettered, and never stops a batch. Invariants of our own are `AssertionError`s and crash.
"""

from __future__ import annotations


class EnforcerError(Exception):
    """Base of every error this package raises on purpose; its text is fit for an operator."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} (hint: {hint})" if hint else message)
        self.message = message
        self.hint = hint


class ConfigError(EnforcerError):
    """The operator's settings are wrong: refuse to start, exit code 78."""


class PolicyError(ConfigError):
    """A policy text is wrong: refuse to start with it, or keep the policy in force.

    The message reads `file:line: reason - at $.path`.
    """


class NewerFormat(ConfigError, ValueError):
    """What is stored or sent was written by a newer version: leave it alone, upgrade this one.

    A ValueError too: where one message among many is read, it is one that cannot be.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="a newer version wrote it: upgrade this one")


class StoreUnavailable(EnforcerError):
    """Redis did not answer in time; retried with backoff inside a Deadline."""


class StoreFull(StoreUnavailable):
    """Redis has no memory for what a save adds, and wrote nothing; waited out, events go on."""


class BusUnavailable(EnforcerError):
    """Kafka did not answer in time; retried with backoff inside a Deadline."""


class OwnershipLost(EnforcerError):
    """Another worker owns the partition now: drop it without saving, never retry."""


class RowCorrupt(EnforcerError):
    """A stored row fails its checksum or its format is unknown: discard, rebuild, alert."""

"""Which policies a worker knows: of the file, reloaded, and those that journals name."""

from __future__ import annotations

from collections.abc import Callable

from stream.errors import NewerFormat, PolicyError
from stream.events import Conditions
from stream.policy import Policy


class Policies:
    """The policy of the file, the one an operator reloaded, and those the journal names."""

    def __init__(self, first: Policy, load: Callable[[str, str], Policy]) -> None:
        self.first = first
        self.reloaded: Policy | None = None
        self._load = load
        self._known: dict[str, Policy] = {first.hash: first}

    def reload(self, policy: Policy) -> None:
        """Let a policy take effect everywhere from the next events on."""
        self.reloaded = policy
        self._known[policy.hash] = policy

    def compiled(self, conditions: Conditions) -> Policy:
        """Return the policy that conditions name, compiled from its journalled text.

        Errors: NewerFormat when this version does not read it as it was meant.
        """
        if conditions.policy_hash not in self._known:
            try:
                policy = self._load(conditions.policy_text, "journal")
            except PolicyError as error:
                raise NewerFormat(
                    f"the journalled policy cannot be read by this version: {error.message}"
                ) from error
            if policy.hash != conditions.policy_hash:
                raise NewerFormat(
                    f"the journalled policy is {conditions.policy_hash} to whoever journalled it,"
                    f" and {policy.hash} to this version"
                )
            self._known[policy.hash] = policy
        return self._known[conditions.policy_hash]

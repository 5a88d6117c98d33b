"""Which policies a worker knows: of the file, reloaded, and those that journals name."""

from __future__ import annotations

from collections.abc import Callable

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
        """Return the policy that conditions name, compiled from its journalled text."""
        if conditions.policy_hash not in self._known:
            policy = self._load(conditions.policy_text, "journal")
            assert policy.hash == conditions.policy_hash, "the journal names another policy"
            self._known[policy.hash] = policy
        return self._known[conditions.policy_hash]

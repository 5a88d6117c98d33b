"""Who may be spoken for: the SPIFFE IDs under some prefixes, by whole segments.

    spiffe://prod.example               every workload of a trust domain
    spiffe://prod.example/agents/eu     that workload, and every one below it

`/agents/eu` does not admit `/agents/eu-west`: a prefix ends where a segment ends. Trust domains are
compared whole, since a name of theirs has no hierarchy (SPIFFE-ID 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from .spiffe import canonical_id


class Territory:
    """The workloads under some prefixes.

    Errors: InvalidIdentity when a prefix is no SPIFFE ID; a trust domain alone is one.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self.prefixes = tuple(dict.fromkeys(canonical_id(each) for each in prefixes))
        self._begins = tuple(f"{each}/" for each in self.prefixes)

    def admits(self, workload: str) -> bool:
        """Tell whether a workload lies under one of the prefixes.

        Requires: `workload` as `canonical_workload` returns it.
        """
        return f"{workload}/".startswith(self._begins)

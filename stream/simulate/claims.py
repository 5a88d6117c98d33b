"""The server of a simulation's store: it remembers who claimed what, for one law of its own.

Who has lost a partition to another claim never has it again under the same name: names are made
anew for each claim. Only a server that went back to an older image may forget that.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from stream.errors import StoreFull
from stream.store import Claim, MemoryServer, MemoryStore, Save

SHOWN: Final = 5


class Claimed(NamedTuple):
    """A claim that was carried out; `life` is another after the server went back."""

    life: int
    partition: int
    nonce: str


class SimServer(MemoryServer):
    """A server that remembers its claims."""

    def __init__(self) -> None:
        super().__init__()
        self.life = 0
        self.is_full = False
        self.claims: list[Claimed] = []

    def restore(self, image: dict[int, Any]) -> None:
        """Go back to an image: what was written since is lost, as in a failover."""
        super().restore(image)
        self.life += 1

    def broken(self) -> list[str]:
        """Return the claims that took a partition back from whoever came after."""
        owners: dict[tuple[int, int], list[str]] = {}
        broken = []
        for each in self.claims:
            names = owners.setdefault((each.life, each.partition), [])
            if each.nonce in names[:-1]:
                broken.append(f"partition {each.partition}: {each.nonce} claimed it late")
            elif each.nonce not in names:
                names.append(each.nonce)
        return broken[:SHOWN]


class SimMemoryStore(MemoryStore):
    """A store that tells its server of claims, and may be full."""

    def __init__(self, server: SimServer) -> None:
        super().__init__(server)
        self._told = server

    async def claim(self, partition: int, nonce: str, seen: str, above: int = 0) -> Claim:
        """Become the owner of the partition."""
        claim = await super().claim(partition, nonce, seen, above)
        self._told.claims.append(Claimed(self._told.life, partition, nonce))
        return claim

    async def save(self, partition: int, save: Save) -> int:
        """Write all of it, or nothing where the memory is full."""
        if self._told.is_full and save.adds:
            raise StoreFull("the memory is full")
        return await super().save(partition, save)

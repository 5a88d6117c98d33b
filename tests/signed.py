"""Keys for tests, and what an honest installation signs with them."""

from functools import cache

import msgspec

from stream.signing import Jwk, Signer, Trust, new_key, public_part

PLACE = ("test", "enforcement")
ALGORITHMS = ("ed25519", "hmac")


@cache
def _made(kid: str, algorithm: str, role: str) -> Jwk:
    return new_key(kid, algorithm, role)


def key(role: str = "worker", algorithm: str = "ed25519", kid: str = "") -> Jwk:
    """A secret key, the same in all of a session."""
    return _made(kid or f"{role}-{algorithm}", algorithm, role)


def signer(role: str = "worker", algorithm: str = "ed25519", **changes: object) -> Signer:
    """Who signs on PLACE; `kid` and `place` may be others."""
    place = changes.get("place", PLACE)
    return Signer(key(role, algorithm, str(changes.get("kid", ""))), place)


def trust(algorithm: str = "ed25519", *, is_strict: bool = True, **times: int) -> Trust:
    """Who believes both roles on PLACE; `nbf`, `exp` of the worker's key may be set."""
    worker = msgspec.structs.replace(public_part(key("worker", algorithm)), **times)
    keys = [worker, public_part(key("operator", algorithm))]
    return Trust(keys, PLACE, is_strict=is_strict)


def signed(
    pair: tuple[bytes, bytes | None], role: str = "worker", algorithm: str = "ed25519"
) -> tuple[bytes, bytes | None]:
    """Key and value as who has the role's key publishes them."""
    name, value = pair
    return name, None if value is None else signer(role, algorithm).sign(name, value)

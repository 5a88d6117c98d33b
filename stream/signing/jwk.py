"""One key as a JSON Web Key, and the functions that sign and verify with it.

What a key may sign is part of it (`role`), and so is when (`nbf`, `exp`): a stolen worker key stops
nothing and exempts nobody. The algorithm is the key's, never the message's.

Source: RFC 7517 (JWK), RFC 8037 section 2 (OKP, Ed25519), RFC 7518 section 6.4 (oct); `nbf` and
`exp` in Unix seconds as OpenID Federation 1.0 has them; `role` is ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, Final, Literal

import msgspec

from stream.errors import ConfigError
from stream.events import KEY_ID

Role = Literal["worker", "operator"]
"""`worker`: what home partitions say, and heartbeats; `operator`: stop, start, exempt, lift."""

Algorithm = Literal["ed25519", "hmac"]
ROLES: Final[tuple[Role, ...]] = ("worker", "operator")
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ed25519", "hmac")
HMAC_BYTES: Final = 32
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]


class Jwk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key: `x` is public, `d` (Ed25519) and `k` (HMAC) are secret and shown by nothing.

    Units: `nbf`, `exp` Unix seconds; what was appended from `nbf` on and before `exp` counts.
    `exp` 0 is no end.
    """

    kid: Annotated[str, msgspec.Meta(pattern=f"^{KEY_ID}$")]
    kty: Literal["OKP", "oct"]
    alg: Literal["EdDSA", "HS256"]
    role: Role
    use: Literal["sig"] = "sig"
    crv: Literal["", "Ed25519"] = ""
    nbf: _Seconds = 0
    exp: _Seconds = 0
    x: str = ""
    d: str = ""
    k: str = ""

    def __repr__(self) -> str:
        return f"Jwk(kid={self.kid!r}, alg={self.alg!r}, role={self.role!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown."""
        return [("kid", self.kid), ("alg", self.alg), ("role", self.role)]

    @property
    def algorithm(self) -> Algorithm:
        """Return the algorithm by the name that settings and verbs use."""
        return "ed25519" if self.kty == "OKP" else "hmac"

    @property
    def is_secret(self) -> bool:
        """Tell whether whoever reads this can sign with it."""
        return bool(self.d or self.k)

    def fingerprint(self) -> str:
        """Return what tells keys apart without showing them: of a public key its RFC 7638 hash.

        Of a secret it is an HMAC under it, from which nothing can be tried out but the key itself.
        """
        if self.kty == "OKP":
            text = f'{{"crv":"Ed25519","kty":"OKP","x":"{self.x}"}}'
            digest = hashlib.sha256(text.encode()).digest()
        else:
            digest = hmac.digest(_raw(self, "k"), b"stream-enforcer fingerprint", "sha256")
        return _text(digest)[:16]


def new_key(kid: str, algorithm: Algorithm, role: Role, nbf: int = 0, exp: int = 0) -> Jwk:
    """Return a new secret key. Errors: ConfigError."""
    fields: dict[str, Any] = {"kid": kid, "role": role, "nbf": nbf, "exp": exp}
    if algorithm == "hmac":
        fields |= {"kty": "oct", "alg": "HS256", "k": _text(secrets.token_bytes(HMAC_BYTES))}
    else:
        ed25519 = _ed25519()
        secret = ed25519.new_secret()
        public = _text(ed25519.public_of(secret))
        fields |= {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": public, "d": _text(secret)}
    return parse_key(fields, kid)


def parse_key(value: Any, place: str) -> Jwk:
    """Return the key that a JSON value says, its parts agreeing with each other.

    Errors: ConfigError, which names the place and never shows the value.
    """
    try:
        key = msgspec.convert(value, Jwk)
    except msgspec.ValidationError as error:
        # msgspec's words name fields, types and bounds, never a value that was given.
        raise ConfigError(f"{place}: not a key: {error}", hint="see `enforcer keys`") from None
    is_fitting = (
        (key.alg, key.crv, bool(key.x), bool(key.k)) == ("EdDSA", "Ed25519", True, False)
        if key.kty == "OKP"
        else (key.alg, key.crv, bool(key.x or key.d), bool(key.k)) == ("HS256", "", False, True)
    )
    if not is_fitting:
        raise ConfigError(
            f"{place}: key {key.kid} has parts that do not fit its type {key.kty}",
            hint="Ed25519: crv, x, and d in a private one; HMAC: k",
        )
    if key.exp and key.exp <= key.nbf:
        raise ConfigError(f"{place}: key {key.kid} ends (exp) before it begins (nbf)")
    names = [name for name in ("x", "d", "k") if getattr(key, name)]
    for name in names:
        if len(_raw(key, name)) != HMAC_BYTES or _text(_raw(key, name)) != getattr(key, name):
            raise ConfigError(f"{place}: key {key.kid}: {name} is not 32 bytes in base64url")
    if key.d and _ed25519().public_of(_raw(key, "d")) != _raw(key, "x"):
        raise ConfigError(f"{place}: key {key.kid}: x is not the public key of d")
    return key


def public_part(key: Jwk) -> Jwk:
    """Return what may be given to who verifies: without `d`; an HMAC key has no public part."""
    return msgspec.structs.replace(key, d="") if key.kty == "OKP" else key


def signing_function(key: Jwk) -> Callable[[bytes], bytes]:
    """Return what signs a message with a secret key.

    Requires: `parse_key` has accepted it. Errors: ConfigError when it is public.
    """
    if not key.is_secret:
        raise ConfigError(f"key {key.kid} is public: it verifies and does not sign")
    if key.kty == "OKP":
        signs: Callable[[bytes], bytes] = _ed25519().signing(_raw(key, "d"))
        return signs
    secret = _raw(key, "k")
    return lambda message: hmac.digest(secret, message, "sha256")


def verifying_function(key: Jwk) -> Callable[[bytes, bytes], bool]:
    """Return what tells whether a signature on a message is this key's.

    Requires: `parse_key` has accepted it.
    """
    if key.kty == "OKP":
        verifies: Callable[[bytes, bytes], bool] = _ed25519().verifying(_raw(key, "x"))
        return verifies
    secret = _raw(key, "k")
    return lambda message, signature: hmac.compare_digest(
        hmac.digest(secret, message, "sha256"), signature
    )


def _ed25519() -> ModuleType:
    """Return the door to the library. Errors: ConfigError when that is not installed."""
    try:
        from . import ed25519  # noqa: PLC0415 - only who has such a key pays for it
    except ImportError as error:
        raise ConfigError(
            "Ed25519 keys need the package `cryptography`",
            hint="pip install 'stream-enforcer[signing]', or use HMAC keys",
        ) from error
    return ed25519


def _raw(key: Jwk, name: str) -> bytes:
    text = getattr(key, name)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

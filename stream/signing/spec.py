"""What an operator sets of signing, and the signer and the trust that follow from it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from stream.errors import ConfigError

from .files import read_key, read_trusted
from .jwk import Jwk, Role
from .signer import Signer
from .trust import Trust

SigningMode = Literal["warn", "require"]
"""What happens to a record with a fault: it is counted, or counted and refused."""

_File = Annotated[str, msgspec.Meta(max_length=4_096)]


class SigningSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files of keys; without a trust file nothing is verified, without a key file nothing signed.

    `installation` is covered by every signature, beside the topic: give each installation its own
    where several share topic names and keys. All parts of one must have the same.
    """

    mode: SigningMode = "require"
    installation: Annotated[str, msgspec.Meta(max_length=200)] = ""
    trust_file: _File = ""
    worker_key_file: _File = ""
    operator_key_file: _File = ""


def trust_of(spec: SigningSpec, topic: str) -> Trust | None:
    """Return the keys that are believed on a topic, None where none are set. Errors: ConfigError.

    Cost: reads the file.
    """
    if not spec.trust_file:
        return None
    keys = read_trusted(spec.trust_file)
    return Trust(keys, (spec.installation, topic), is_strict=spec.mode == "require")


def signer_of(spec: SigningSpec, topic: str, role: Role, now_s: int) -> Signer | None:
    """Return who signs in a role on a topic, None where no key is set.

    Errors: ConfigError when the key is for another role, is not good now, or is not among those
            that are trusted: what it signed would be refused.
    """
    file = spec.worker_key_file if role == "worker" else spec.operator_key_file
    if not file:
        return None
    key = read_key(file)
    if key.role != role:
        raise ConfigError(
            f"{file}: key {key.kid} is for the role {key.role}, not {role}",
            hint=f"make one with `enforcer keys generate --role {role}`",
        )
    if now_s < key.nbf or (key.exp and now_s >= key.exp):
        raise ConfigError(
            f"{file}: key {key.kid} is not good now", hint="`enforcer keys list` shows when it is"
        )
    trusted = read_trusted(spec.trust_file) if spec.trust_file else [key]
    if not any(_is_same(key, each) for each in trusted):
        raise ConfigError(
            f"{file}: key {key.kid} is not among the keys in {spec.trust_file}",
            hint="add its public part there and at every gateway before signing with it",
        )
    return Signer(key, (spec.installation, topic))


def _is_same(one: Jwk, other: Jwk) -> bool:
    """Tell whether what one key signs the other verifies, in the same role."""
    return (one.kid, one.role, one.x, one.k) == (other.kid, other.role, other.x, other.k)

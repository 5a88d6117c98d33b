"""Keys in files: a secret key is one JWK, what is trusted is a JWK Set (RFC 7517 section 5).

Files are small, bounded, and written so that a crash leaves the old one or the new one. Who can
read a file that holds a secret is its owner only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from stream.errors import ConfigError

from .jwk import Jwk, parse_key

TRUST_BYTES_MAX: Final = 262_144
_SECRET_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644


def read_key(file: str) -> Jwk:
    """Return the secret key in a file. Errors: ConfigError, which never shows it."""
    key = parse_key(_read(file), file)
    if not key.is_secret:
        raise ConfigError(
            f"{file}: key {key.kid} is public: it verifies and does not sign",
            hint="name the file that `enforcer keys generate` wrote",
        )
    return key


def read_trusted(file: str) -> list[Jwk]:
    """Return the keys in a file: those of a JWK Set, or a single one. Errors: ConfigError."""
    value = _read(file)
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        return [parse_key(value, file)]
    return [parse_key(each, file) for each in value["keys"]]


def write_key(file: str, key: Jwk) -> None:
    """Write a secret key to a new file that only its owner may read.

    Errors: ConfigError; a file that is there is never written over.
    """
    try:
        _write_new(Path(file), _encoded(key), _SECRET_MODE)
    except FileExistsError as error:
        raise ConfigError(f"{file} exists", hint="name another file, or remove it") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def write_trusted(file: str, keys: Sequence[Jwk]) -> None:
    """Write what is trusted, in place of what the file held. Errors: ConfigError."""
    mode = _SECRET_MODE if any(each.is_secret for each in keys) else _PUBLIC_MODE
    place = Path(file)
    new = place.with_name(f"{place.name}.new")
    try:
        new.unlink(missing_ok=True)
        _write_new(new, _encoded({"keys": list(keys)}), mode)
        new.replace(place)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def _write_new(place: Path, data: bytes, mode: int) -> None:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _encoded(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _read(file: str) -> Any:
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(TRUST_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror or error}", hint="`enforcer keys generate` makes keys"
        ) from error
    except ValueError as error:  # a zero byte in its name
        raise ConfigError(f"{file!r} names no file: {error}") from error
    if len(data) > TRUST_BYTES_MAX:
        raise ConfigError(f"{file}: more than {TRUST_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        # What the decoder says could quote the file.
        raise ConfigError(f"{file}: not JSON", hint="it must hold a JSON Web Key") from None

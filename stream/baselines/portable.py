"""A baseline to be carried elsewhere: its bytes, and a manifest that says what they are.

    bytes 0-7     `SEPORT` and the format version, 16 bits
    bytes 8-11    the manifest's size in bytes, 32 bits
    then          the manifest: one JSON object, signed or not, and the baseline's bytes

The manifest holds the hash of the bytes, so whoever signs it signs them, and whoever carries a
manifest by another way can tell whether the bytes are those. All numbers little-endian. Nothing is
believed before it is checked: sizes first, then the hash; what the bytes say is for
`decode_baseline`, who signed is for whoever has keys.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Annotated, Final, NamedTuple

import msgspec

from stream.errors import ConfigError, NewerFormat

from .format import BASELINE_BYTES_MAX, version_of

PORTABLE_MAGIC: Final = b"SEPORT"
PORTABLE_VERSION: Final = 1
MANIFEST_BYTES_MAX: Final = 4_096
_HEAD: Final = struct.Struct("<6sHI")
PORTABLE_BYTES_MAX: Final = _HEAD.size + MANIFEST_BYTES_MAX + BASELINE_BYTES_MAX


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is carried: version, size and SHA-256 of a baseline's bytes, whose hash key, and when.

    Units: `exported_ms` Unix milliseconds.
    """

    version: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=BASELINE_BYTES_MAX)]
    hash_key: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    exported_ms: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Portable(NamedTuple):
    """An exported file taken apart; `signed` is the manifest's text, with its signature if any."""

    manifest: Manifest
    signed: bytes
    data: bytes


_decoder = msgspec.json.Decoder(Manifest)


def manifest_of(data: bytes, hash_key: int, exported_ms: int) -> bytes:
    """Return the text of the manifest of a baseline's bytes, not signed."""
    return msgspec.json.encode(
        Manifest(
            version=version_of(data),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            hash_key=hash_key,
            exported_ms=exported_ms,
        )
    )


def encode_portable(data: bytes, signed: bytes) -> bytes:
    """Return a baseline's bytes behind the text of their manifest."""
    assert len(signed) <= MANIFEST_BYTES_MAX, len(signed)
    return _HEAD.pack(PORTABLE_MAGIC, PORTABLE_VERSION, len(signed)) + signed + data


def decode_portable(data: bytes, file: str) -> Portable:
    """Return what an exported file carries, its hash being right.

    Errors: ConfigError `file: reason`; NewerFormat.
    """
    if len(data) < _HEAD.size or data[: len(PORTABLE_MAGIC)] != PORTABLE_MAGIC:
        raise ConfigError(
            f"{file}: this is no exported baseline", hint="`enforcer baseline export` makes one"
        )
    _, version, size = _HEAD.unpack_from(data)
    if version > PORTABLE_VERSION:
        raise NewerFormat(f"{file}: format {version} of exported baselines")
    if version != PORTABLE_VERSION or not 0 < size <= MANIFEST_BYTES_MAX:
        raise ConfigError(f"{file}: its head is wrong")
    signed, rest = data[_HEAD.size : _HEAD.size + size], data[_HEAD.size + size :]
    try:
        manifest = _decoder.decode(signed)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: its manifest cannot be read: {error}") from error
    if len(rest) != manifest.bytes:
        raise ConfigError(
            f"{file}: it carries {len(rest):,} bytes, and its manifest says {manifest.bytes:,}",
            hint="it was cut or changed on its way: fetch it again",
        )
    if hashlib.sha256(rest).hexdigest() != manifest.sha256 or version_of(rest) != manifest.version:
        raise ConfigError(
            f"{file}: its hash is wrong, so it is not what was exported",
            hint="it was changed on its way: fetch it again",
        )
    return Portable(manifest, signed, rest)

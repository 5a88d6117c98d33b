"""A baseline that is carried: the same bytes come out, or a reason why not."""

from __future__ import annotations

import struct

import msgspec
import pytest

from stream.baselines import decode_portable, encode_baseline, encode_portable, manifest_of
from stream.errors import ConfigError, NewerFormat
from tests.models.tasks import KEY, baseline

DATA = encode_baseline(baseline())
MANIFEST = manifest_of(DATA, KEY.id, 1_700_000_000_000)
CARRIED = encode_portable(DATA, MANIFEST)


def changed(**fields: object) -> bytes:
    """The file with other words in its manifest."""
    said = {**msgspec.json.decode(MANIFEST), **fields}
    return encode_portable(DATA, msgspec.json.encode(said))


def test_what_was_put_in_comes_out():
    """Bytes, manifest and its text are those that went in."""
    found = decode_portable(CARRIED, "f")
    assert (found.data, found.signed) == (DATA, MANIFEST)
    assert (found.manifest.hash_key, found.manifest.bytes) == (KEY.id, len(DATA))


@pytest.mark.parametrize("place", [0, 8, 11, len(MANIFEST) // 2, len(MANIFEST) + 20, -40, -1])
def test_a_changed_byte_is_refused(place):
    """Whatever byte of head, manifest or baseline differs, nothing comes out."""
    hurt = bytearray(CARRIED)
    hurt[place] ^= 1
    with pytest.raises(ConfigError):
        decode_portable(bytes(hurt), "f")


@pytest.mark.parametrize("size", [0, 5, 11, 12, len(MANIFEST), len(CARRIED) - 1])
def test_a_part_is_refused(size):
    """What was cut is refused, and what has more behind it."""
    for data in (CARRIED[:size], CARRIED + b"x"):
        with pytest.raises(ConfigError):
            decode_portable(data, "f")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"sha256": "0" * 64}, "hash is wrong"),
        ({"version": "0" * 16}, "hash is wrong"),
        ({"bytes": 5}, "its manifest says 5"),
        ({"bytes": -1}, "manifest cannot be read"),
        ({"bytes": 10**23}, "manifest cannot be read"),
        ({"hash_key": "x"}, "manifest cannot be read"),
        ({"sha256": "zz"}, "manifest cannot be read"),
    ],
)
def test_a_manifest_of_other_bytes_is_refused(fields, why):
    """A manifest speaks for its bytes only, and is read with care."""
    with pytest.raises(ConfigError, match=why):
        decode_portable(changed(**fields), "f")


def test_a_newer_format_and_a_deep_manifest_say_what_they_are():
    """A later version is not called broken; nesting ends nothing; sizes are bounded."""
    with pytest.raises(NewerFormat, match="upgrade"):
        decode_portable(struct.pack("<6sHI", b"SEPORT", 2, 10) + CARRIED[12:], "f")
    with pytest.raises(ConfigError, match="manifest"):
        decode_portable(encode_portable(DATA, b'{"version":' + b"[" * 4_000), "f")
    with pytest.raises(ConfigError, match="head"):
        decode_portable(struct.pack("<6sHI", b"SEPORT", 1, 1 << 31) + CARRIED[12:], "f")

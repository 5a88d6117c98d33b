"""Keys: what they are in a file, what they may sign, and that nothing shows them."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.errors import ConfigError
from stream.events import decode_value, split_signature
from stream.signing import (
    Jwk,
    Signer,
    SigningSpec,
    Trust,
    new_key,
    public_part,
    read_key,
    read_trusted,
    signer_of,
    trust_of,
    write_key,
    write_trusted,
)
from tests.models.owner import NOW_MS, Owner, act, operator_record, revoked, subject_record
from tests.signed import ALGORITHMS, PLACE, key, signer, trust

NOW_S = NOW_MS // 1_000
# RFC 8037 appendix A.1 to A.3: key, thumbprint.
RFC_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def fault(value: bytes, trusted: Trust, name: bytes = b"", append_ms: int = NOW_MS) -> str | None:
    """What is wrong with a signed value under a key, by default revoked()'s."""
    one = split_signature(value)
    name = name or revoked()[0]
    return trusted.fault_of(name, append_ms, one, decode_value(one.payload))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_signed_is_believed(algorithm: str) -> None:
    """By who has the key, under the record's key, on its topic of its installation, only there."""
    name, payload = revoked()
    value = signer("worker", algorithm).sign(name, payload)
    assert fault(value, trust(algorithm)) is None
    assert fault(payload, trust(algorithm)) == "unsigned"
    assert fault(value, trust(algorithm), revoked("spiffe://example.org/x")[0]) == "forged"
    for place in (("other", PLACE[1]), (PLACE[0], "other")):
        elsewhere = Signer(key("worker", algorithm), place).sign(name, payload)
        assert fault(elsewhere, trust(algorithm)) == "forged"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signing_is_deterministic(algorithm: str) -> None:
    """A record that is published again after a crash is the same bytes."""
    name, payload = revoked()
    again = Signer(key("worker", algorithm), PLACE).sign(name, payload)
    assert again == signer("worker", algorithm).sign(name, payload)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_says_what_it_may_sign(algorithm: str) -> None:
    """A worker's key exempts nobody and stops nothing; an operator's revokes nobody."""
    worker, operator = signer("worker", algorithm), signer("operator", algorithm)
    act_key, act_payload = operator_record("", act("stop"))
    beat_key, beat = Owner().heartbeat()
    name, payload = revoked()
    believed = trust(algorithm)
    assert fault(operator.sign(act_key, act_payload), believed, act_key) is None
    assert fault(worker.sign(act_key, act_payload), believed, act_key) == "wrong_role"
    assert fault(worker.sign(beat_key, beat), believed, beat_key) is None
    assert fault(operator.sign(beat_key, beat), believed, beat_key) == "wrong_role"
    assert fault(operator.sign(name, payload), believed) == "wrong_role"
    subject = decode_value(payload).subject
    name, payload = subject_record(subject, issuer="operator")
    assert fault(worker.sign(name, payload), believed, name) == "wrong_role"


def test_unknown_and_other_keys_are_told_apart() -> None:
    """An id that nobody trusts, and a known id with another's signature."""
    name, payload = revoked()
    assert fault(signer(kid="stranger").sign(name, payload), trust()) == "unknown_key"
    same_id = Signer(new_key("worker-ed25519", "ed25519", "worker"), PLACE)
    assert fault(same_id.sign(name, payload), trust()) == "forged"
    # The algorithm is the key's: a public key is no secret of an HMAC.
    confused = msgspec.structs.replace(key("worker", "hmac"), kid="worker-ed25519", k=key().x)
    assert fault(Signer(confused, PLACE).sign(name, payload), trust()) == "forged"


def test_a_key_is_good_for_what_was_appended_in_its_time() -> None:
    """From nbf on, before exp, by the broker's time: later looks change nothing."""
    name, payload = revoked()
    value = signer().sign(name, payload)
    timed = trust(nbf=NOW_S, exp=NOW_S + 60)
    assert fault(value, timed, append_ms=NOW_MS - 1) == "early_key"
    assert fault(value, timed, append_ms=NOW_MS) is None
    assert fault(value, timed, append_ms=NOW_MS + 59_999) is None
    assert fault(value, timed, append_ms=NOW_MS + 60_000) == "retired_key"


def test_the_vector_of_rfc_8037() -> None:
    """Its key loads, its public part and thumbprint are those of the RFC."""
    fields = {"kid": "rfc", "kty": "OKP", "alg": "EdDSA", "role": "worker", "crv": "Ed25519"}
    file_key = key_from(fields | {"d": RFC_D, "x": RFC_X})
    assert public_part(file_key).x == RFC_X
    assert RFC_THUMBPRINT.startswith(file_key.fingerprint())


def key_from(fields: dict[str, Any]) -> Jwk:
    from stream.signing.jwk import parse_key

    return parse_key(fields, "test.jwk")


GOOD = {"kid": "k", "kty": "oct", "alg": "HS256", "role": "worker", "k": "A" * 43}
PUBLIC = {"kid": "k", "kty": "OKP", "alg": "EdDSA", "role": "worker", "crv": "Ed25519", "x": RFC_X}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        [],
        None,
        GOOD | {"kid": ""},
        GOOD | {"kid": "a b"},
        GOOD | {"role": "admin"},
        GOOD | {"alg": "none"},
        GOOD | {"alg": "EdDSA"},
        GOOD | {"k": "A" * 42},
        GOOD | {"k": "A" * 44},
        GOOD | {"k": "A" * 42 + "B"},  # two bits more than 32 bytes
        GOOD | {"k": "!" * 43},
        GOOD | {"k": "é" * 43},
        GOOD | {"k": ""},
        GOOD | {"x": RFC_X},
        GOOD | {"nbf": 10, "exp": 10},
        GOOD | {"exp": -1},
        GOOD | {"use": "enc"},
        PUBLIC | {"crv": ""},
        PUBLIC | {"k": "A" * 43},
        PUBLIC | {"x": ""},
        PUBLIC | {"d": "A" * 43},  # x is another key's
    ],
)
def test_wrong_keys_are_refused_without_being_shown(fields: Any) -> None:
    """With the place and what is wrong; never a byte of it."""
    with pytest.raises(ConfigError) as raised:
        key_from(fields)
    assert "test.jwk" in str(raised.value)
    assert "A" * 20 not in str(raised.value)


def test_nothing_shows_a_secret() -> None:
    """Neither repr nor str nor an error of a key, nor its fingerprint."""
    for algorithm in ALGORITHMS:
        one = key("worker", algorithm)
        secret = one.d or one.k
        shown = f"{one!r} {one} {one.fingerprint()} {public_part(one)!r} {[one]}"
        assert secret not in shown
        assert secret not in repr(one.__rich_repr__())


def test_files_keep_keys(tmp_path: Path) -> None:
    """What is written is read back; secrets only by their owner; a key is never written over."""
    secret, trusted = tmp_path / "worker.jwk", tmp_path / "trusted.jwks"
    write_key(str(secret), key())
    assert secret.stat().st_mode & 0o777 == 0o600
    assert read_key(str(secret)) == key()
    with pytest.raises(ConfigError, match="exists"):
        write_key(str(secret), key("operator"))
    write_trusted(str(trusted), [public_part(key()), public_part(key("operator"))])
    assert trusted.stat().st_mode & 0o777 == 0o644
    assert [each.kid for each in read_trusted(str(trusted))] == [
        "worker-ed25519",
        "operator-ed25519",
    ]
    assert key().d not in trusted.read_text()
    write_trusted(str(trusted), [key("worker", "hmac")])
    assert trusted.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in sorted(tmp_path.iterdir())] == ["trusted.jwks", "worker.jwk"]


def test_wrong_files_are_named(tmp_path: Path) -> None:
    """Missing, no JSON, too large, public where a secret is needed: said, with the file."""
    file = tmp_path / "some.jwk"
    for data in (b"", b"{", b"\xff", b"[" * 5_000, b" " * 300_000, b'{"keys":[1]}'):
        file.write_bytes(data)
        with pytest.raises(ConfigError, match=r"some\.jwk"):
            read_trusted(str(file))
    file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        read_key(str(file))
    with pytest.raises(ConfigError, match="names no file"):
        read_key("some\0.jwk")
    write_trusted(str(file), [public_part(key())])
    with pytest.raises(ConfigError):
        read_key(str(file))
    with pytest.raises(ConfigError, match="cannot be written"):
        write_key(str(tmp_path / "no" / "key"), key())


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    """A key for another role, one whose time is over, one that nobody trusts, two of one id."""
    worker, operator = tmp_path / "worker.jwk", tmp_path / "operator.jwk"
    trusted = tmp_path / "trusted.jwks"
    write_key(str(worker), key())
    write_key(str(operator), key("operator"))
    assert trust_of(SigningSpec(), "t") is None
    assert signer_of(SigningSpec(), "t", "worker", NOW_S) is None
    good = SigningSpec(worker_key_file=str(worker))
    found = signer_of(good, "t", "worker", NOW_S)
    assert found is not None and found.key_id == "worker-ed25519"
    with pytest.raises(ConfigError, match="for the role operator"):
        signer_of(SigningSpec(worker_key_file=str(operator)), "t", "worker", NOW_S)
    write_trusted(str(trusted), [public_part(key("operator"))])
    untrusted = SigningSpec(worker_key_file=str(worker), trust_file=str(trusted))
    with pytest.raises(ConfigError, match="not among the keys"):
        signer_of(untrusted, "t", "worker", NOW_S)
    write_trusted(str(trusted), [public_part(key())] * 2)
    with pytest.raises(ConfigError, match="two keys"):
        trust_of(untrusted, "t")
    write_trusted(str(trusted), [])
    with pytest.raises(ConfigError, match="0 keys"):
        trust_of(untrusted, "t")
    over = tmp_path / "over.jwk"
    write_key(str(over), msgspec.structs.replace(key(), exp=NOW_S))
    with pytest.raises(ConfigError, match="not good now"):
        signer_of(SigningSpec(worker_key_file=str(over)), "t", "worker", NOW_S)


def test_hmac_keys_need_no_library() -> None:
    """The room and HMAC keys load without `cryptography`; Ed25519 says what to install."""
    script = """
import sys
sys.modules["cryptography"] = None
import stream.gateway
from stream.errors import ConfigError
from stream.signing import Signer, Trust, new_key
key = new_key("k", "hmac", "worker")
Trust([key], ("", ""), is_strict=True)
Signer(key, ("", "")).sign(b"k", b'{"a":1}')
try:
    new_key("k", "ed25519", "worker")
except ConfigError as error:
    print(error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "stream-enforcer[signing]" in done.stdout


def test_base64_is_what_others_write() -> None:
    """A key file is a JSON Web Key that other libraries read: unpadded base64url of 32 bytes."""
    one = json.loads(msgspec.json.encode(key("worker", "hmac")))
    assert len(base64.urlsafe_b64decode(one["k"] + "=")) == 32

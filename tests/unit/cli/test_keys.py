"""`keys`: made, listed and retired, and never shown."""

import json
import time
from pathlib import Path

import pytest

from stream.signing import read_key, read_trusted
from tests.unit.cli.conftest import Call


@pytest.mark.parametrize("algorithm", ["ed25519", "hmac"])
def test_a_key_is_made_and_trusted(algorithm: str, call: Call, tmp_path: Path) -> None:
    """The secret goes to one file, what is believed to another; neither is printed."""
    secret, trusted = str(tmp_path / "w.jwk"), str(tmp_path / "t.jwks")
    made = call(
        "keys", "generate", secret, "--role", "worker", "--algorithm", algorithm, "--trust", trusted
    )
    assert made.exit_code == 0, made.stderr
    key = read_key(secret)
    assert [each.kid for each in read_trusted(trusted)] == [key.kid]
    listed = call("keys", "list", secret, trusted)
    rows = json.loads(call("keys", "list", secret, trusted, "--json").stdout)
    assert [each["secret"] for each in rows] == [True, algorithm == "hmac"]
    assert rows[0]["fingerprint"] == rows[1]["fingerprint"]
    for shown in (made, listed):
        assert (key.d or key.k) not in shown.stdout + shown.stderr
        assert key.kid in shown.stdout
    assert ("secret now" in made.stdout) == (algorithm == "hmac")


def test_nothing_is_written_over(call: Call, tmp_path: Path) -> None:
    """Neither a secret nor an id that is there."""
    secret, trusted = str(tmp_path / "w.jwk"), str(tmp_path / "t.jwks")
    args = "--role", "worker", "--id", "one", "--trust", trusted
    assert call("keys", "generate", secret, *args).exit_code == 0
    before = Path(secret).read_bytes()
    assert call("keys", "generate", secret, "--role", "worker").exit_code == 78
    again = call("keys", "generate", str(tmp_path / "x.jwk"), *args)
    assert (again.exit_code, (tmp_path / "x.jwk").exists()) == (1, False)
    assert Path(secret).read_bytes() == before


def test_show_gives_away_what_is_public(call: Call, tmp_path: Path) -> None:
    """The public part of an Ed25519 key; of an HMAC key nothing."""
    files = {each: str(tmp_path / each) for each in ("ed25519", "hmac")}
    for algorithm, file in files.items():
        call("keys", "generate", file, "--role", "operator", "--algorithm", algorithm)
    shown = json.loads(call("keys", "show", files["ed25519"], "--json").stdout)
    assert "d" not in shown
    assert shown["x"] == read_key(files["ed25519"]).x
    hidden = call("keys", "show", files["hmac"])
    assert (hidden.exit_code, hidden.stdout) == (1, "")
    assert read_key(files["hmac"]).k not in hidden.stderr


def test_a_key_is_retired_or_removed(call: Call, tmp_path: Path) -> None:
    """From now on nothing counts that it signs; removed, nothing that it ever signed."""
    trusted = str(tmp_path / "t.jwks")
    for name in ("old", "new"):
        file = str(tmp_path / name)
        call("keys", "generate", file, "--role", "worker", "--id", name, "--trust", trusted)
    assert call("keys", "retire", trusted, "old", "--json").exit_code == 0
    old, new = read_trusted(trusted)
    assert 0 < old.exp <= time.time() + 1
    assert new.exp == 0
    assert call("keys", "retire", trusted, "old", "--in", "30d").exit_code == 0
    assert read_trusted(trusted)[0].exp == old.exp
    assert call("keys", "retire", trusted, "nobody").exit_code == 1
    assert call("keys", "retire", trusted, "old", "--remove").exit_code == 0
    assert [each.kid for each in read_trusted(trusted)] == ["new"]
    assert call("keys", "retire", trusted, "new", "--remove").exit_code == 78


@pytest.mark.parametrize("verb", ["generate", "list", "show", "retire"])
def test_each_of_them_helps(verb: str, call: Call) -> None:
    """With examples, and --json."""
    shown = call("keys", verb, "--help")
    assert shown.exit_code == 0
    assert "Examples:" in shown.stdout
    assert "--json" in shown.stdout

"""`baseline export | import | list`: carried by file, believed only when it should be."""

import json
from pathlib import Path

import pytest

from stream.baselines import decode_baseline, encode_baseline
from stream.cli import baseline_portable
from stream.cli.baseline_file import read_bytes
from stream.errors import ConfigError
from tests.models.tasks import baseline
from tests.unit.cli.conftest import Call

MADE = baseline()
DATA = encode_baseline(MADE)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A baseline file."""
    (tmp_path / "learned.baseline").write_bytes(DATA)
    return str(tmp_path / "learned.baseline")


def keys(call: Call, folder: Path, role: str = "operator", name: str = "op") -> dict[str, str]:
    """New keys of a role, as settings for who signs and who believes."""
    key, trust = str(folder / f"{name}.jwk"), str(folder / f"{name}.jwks")
    done = call("keys", "generate", key, "--role", role, "--trust", trust, "--algorithm", "hmac")
    assert done.exit_code == 0, done.output
    return {"ENFORCER_OPERATOR_KEY_FILE": key, "ENFORCER_TRUST_FILE": trust}


def test_a_name_of_no_file_is_said() -> None:
    """Settings may name anything, zero bytes too."""
    with pytest.raises(ConfigError, match="names no file"):
        read_bytes("some\0.baseline", 100)


def test_exported_and_imported_is_the_same_file(call: Call, tmp_path: Path, file: str) -> None:
    """The bytes that come out are those that went in, and so is the version."""
    carried, out = str(tmp_path / "carried"), tmp_path / "here.baseline"
    sent = json.loads(call("baseline", "export", file, "--out", carried, "--json").stdout)
    done = call("baseline", "import", carried, "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    got = json.loads(done.stdout)
    assert out.read_bytes() == DATA
    assert (got["version"], got["signed_by"]) == (sent["version"], "")
    assert got["tasks"] == MADE.facts.tasks


def test_signed_is_believed_and_others_are_not(call: Call, tmp_path: Path, file: str) -> None:
    """With keys configured: ours is taken, unsigned, another's, changed and retired are refused."""
    ours, others = keys(call, tmp_path), keys(call, tmp_path, name="other")
    out = str(tmp_path / "here.baseline")
    unsigned, signed, foreign = (str(tmp_path / each) for each in ("u", "s", "f"))
    call("baseline", "export", file, "--out", unsigned)
    assert "signed with" in call("baseline", "export", file, "--out", signed, **ours).stdout
    call("baseline", "export", file, "--out", foreign, **others)
    trust = {"ENFORCER_TRUST_FILE": ours["ENFORCER_TRUST_FILE"]}
    done = call("baseline", "import", signed, "--out", out, "--json", **trust)
    assert (done.exit_code, json.loads(done.stdout)["signed_by"][:8]) == (0, "operator")
    Path(out).unlink()
    text = Path(signed).read_bytes()
    Path(tmp_path / "c").write_bytes(text.replace(b'"exported_ms":1', b'"exported_ms":2', 1))
    for which, why in (
        (unsigned, "unsigned"),
        (foreign, "unknown_key"),
        (tmp_path / "c", "forged"),
    ):
        done = call("baseline", "import", str(which), "--out", out, **trust)
        assert (done.exit_code, f"({why})" in done.stderr) == (78, True), done.output
        assert not Path(out).exists()
        done = call(
            "baseline", "import", str(which), "--out", out, ENFORCER_SIGNING="warn", **trust
        )
        assert (done.exit_code, f"({why})" in done.stderr) == (0, True), done.output
        Path(out).unlink()
    (known,) = json.loads(Path(trust["ENFORCER_TRUST_FILE"]).read_text())["keys"]
    known["exp"] = known["nbf"] = 1
    known["exp"] = 2
    Path(trust["ENFORCER_TRUST_FILE"]).write_text(json.dumps({"keys": [known]}))
    done = call("baseline", "import", signed, "--out", out, **trust)
    assert (done.exit_code, "(retired_key)" in done.stderr) == (78, True), done.output


def test_a_workers_key_signs_no_baseline(call: Call, tmp_path: Path, file: str) -> None:
    """A stolen worker key brings nobody a baseline."""
    worker = keys(call, tmp_path, role="worker", name="worker")
    done = call("baseline", "export", file, "--out", str(tmp_path / "x"), **worker)
    assert (done.exit_code, "not operator" in done.stderr) == (78, True)


def test_what_is_wrong_is_named(
    call: Call, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another hash key, a file that is none, a changed one, one too large: each says what it is."""
    carried, out = str(tmp_path / "carried"), str(tmp_path / "here.baseline")
    call("baseline", "export", file, "--out", carried)
    done = call("baseline", "import", carried, "--out", out, ENFORCER_HASH_KEY="0" * 31 + "1")
    assert (done.exit_code, "learned under hash key" in done.stderr) == (78, True)
    done = call("baseline", "import", file, "--out", out)
    assert (done.exit_code, "no exported baseline" in done.stderr) == (78, True)
    done = call("baseline", "export", carried, "--out", out)
    assert (done.exit_code, "this is no baseline" in done.stderr) == (78, True)
    hurt = bytearray(Path(carried).read_bytes())
    hurt[-50] ^= 1
    Path(carried).write_bytes(hurt)
    done = call("baseline", "import", carried, "--out", out)
    assert (done.exit_code, "hash is wrong" in done.stderr) == (78, True)
    monkeypatch.setattr(baseline_portable, "PORTABLE_BYTES_MAX", 1_000)
    done = call("baseline", "import", carried, "--out", out)
    assert (done.exit_code, "more than 1,000 bytes" in done.stderr) == (78, True)
    assert not Path(out).exists()


def test_a_folder_is_listed(call: Call, tmp_path: Path, file: str) -> None:
    """Baselines and exported ones, broken ones with the reason; other files are passed over."""
    call("baseline", "export", file, "--out", str(tmp_path / "carried"))
    (tmp_path / "broken.baseline").write_bytes(DATA[:-1])
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "folder").mkdir()
    done = call("baseline", "list", str(tmp_path), "--json")
    found = {each["file"]: each for each in json.loads(done.stdout)}
    assert found.keys() == {"broken.baseline", "carried", "learned.baseline"}
    assert "hash is wrong" in found["broken.baseline"]["fault"]
    assert found["carried"]["version"] == found["learned.baseline"]["version"]
    assert (found["carried"]["kind"], found["learned.baseline"]["kind"]) == ("exported", "baseline")
    assert found["carried"]["tasks"] == decode_baseline(DATA, "d").facts.tasks
    shown = call("baseline", "list", str(tmp_path)).stdout
    assert "learned.baseline" in shown and "hash is wrong" in shown and "notes" not in shown
    assert "no baseline" in call("baseline", "list", str(tmp_path / "folder")).stdout


def test_a_folder_or_what_is_in_force_is_listed(call: Call, tmp_path: Path) -> None:
    """One of them: neither and both are asked again."""
    for words in ((), (str(tmp_path), "--live")):
        done = call("baseline", "list", *words)
        assert (done.exit_code, "a FOLDER, or --live" in done.stderr) == (2, True)


@pytest.mark.parametrize("verb", ["export", "import"])
def test_what_is_read_is_not_written(call: Call, tmp_path: Path, file: str, verb: str) -> None:
    """A slip does not replace a baseline by its export, or an export by its baseline."""
    given = file
    if verb == "import":
        given = str(tmp_path / "carried")
        call("baseline", "export", file, "--out", given)
    before = Path(given).read_bytes()
    done = call("baseline", verb, given, "--out", given)
    assert (done.exit_code, "read and written" in done.stderr) == (2, True), done.output
    assert Path(given).read_bytes() == before

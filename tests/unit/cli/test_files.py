"""Verbs that need no server: convert, replay, check, schema."""

import gzip
import json
from pathlib import Path

import pytest

from stream.events import Request, decode_request, encode, encode_request
from stream.kernel import HashKey
from stream.policy import load_policy
from stream.replay import Replay
from tests.unit.cli.conftest import Call

LOG = (
    '10.0.0.1 - - [31/Jan/2026:12:00:00 +0000] "GET /customers/42 HTTP/1.1" 200 512\n'
    "what is this\n"
    '10.0.0.2 - - [31/Jan/2026:12:00:01 +0000] "POST /mail HTTP/1.1" 500 7\n'
)
POLICY = """
name: small
rules:
- name: crowd
  limit: {measure: requests, at_most: 3, per: 1m}
  action: throttle
  rate: 1/s
  mode: enforce
"""


def test_convert_writes_events_and_tells_faults(call: Call, tmp_path: Path) -> None:
    """Each good line is an event, each bad one is told with its place and counted."""
    log, out = tmp_path / "access.log", tmp_path / "events.jsonl"
    log.write_text(LOG)
    done = call("convert", "--format", "nginx", str(log), "-o", str(out), "--trust-domain", "web")
    assert done.exit_code == 0
    events = [decode_request(line) for line in out.read_bytes().splitlines()]
    assert [each.operation for each in events] == ["GET /customers/{id}", "POST /mail"]
    assert events[0].workload.startswith("spiffe://web/client/")
    assert f"{log}:2: malformed" in done.stderr
    assert "2 events, 1 faults: 1 malformed" in done.stderr


def test_convert_reads_stdin_and_writes_stdout(call: Call) -> None:
    """Without files it is a filter; the summary is no part of what comes out."""
    done = call("convert", "--format", "nginx", "--json", stdin=gzip.compress(LOG.encode()))
    assert len([decode_request(line) for line in done.stdout_bytes.splitlines()]) == 2
    assert json.loads(done.stderr) == {"events": 2, "faults": {"malformed": 1}}


def test_convert_of_nothing_is_not_so(call: Call) -> None:
    """Exit code 1 where nothing could be converted; 78 where the settings are wrong."""
    assert call("convert", "--format", "cloudtrail", stdin=b"{}\n").exit_code == 1
    done = call("convert", "--format", "nginx", "--trust-domain", "no spaces", stdin=b"")
    assert done.exit_code == 78


@pytest.mark.parametrize("form", ["nginx", "cloudtrail"])
def test_wrong_settings_empty_no_file(call: Call, tmp_path: Path, form: str) -> None:
    """What is wrong with settings is told before the file of the last conversion is touched."""
    out = tmp_path / "events.jsonl"
    out.write_text("kept")
    given = ("convert", "--format", form, "-o", str(out), "--trust-domain", "bad domain")
    assert call(*given, stdin=b"").exit_code == 78
    assert out.read_text() == "kept"


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[str, str, list[bytes]]:
    """A file of events, a policy file, and the events."""
    payloads = [
        encode_request(Request(1_000 * place, f"spiffe://a/{place % 3}", f"GET /{place % 5}"))
        for place in range(30)
    ]
    events, policy = tmp_path / "events.jsonl", tmp_path / "policy.yaml"
    events.write_bytes(b"\n".join([*payloads[:15], b"nonsense", *payloads[15:]]))
    policy.write_text(POLICY)
    return str(events), str(policy), payloads


def test_replay_gives_the_bodies_of_the_engine(
    call: Call, recorded: tuple[str, str, list[bytes]], tmp_path: Path
) -> None:
    """Command bodies and findings are written in order, byte for byte, whatever the hash key."""
    events, policy, payloads = recorded
    machine = Replay(load_policy(POLICY, "test"), HashKey(b"another key, 16b"), 2, 100)
    wanted = [
        encode(each.command.body) for result, _ in machine.run(payloads) for each in result.outgoing
    ]
    commands, findings = tmp_path / "commands", tmp_path / "findings"
    done = call(
        "replay", events, "--policy", policy, "--partitions", "2", "--commands", str(commands),
        "--findings", str(findings), "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert commands.read_bytes().splitlines() == wanted
    assert len(wanted) >= 3
    summary = json.loads(done.stdout)
    assert (summary["events"], summary["workloads"]) == (30, 3)
    assert summary["rejects"] == {"malformed": 1}
    assert summary["hash_key"] == "public"
    (rule,) = summary["rules"]
    assert (rule["rule"], rule["commands"], rule["workloads"]) == ("crowd", len(wanted), 3)
    assert rule["findings"] == len(findings.read_bytes().splitlines())


def test_replay_says_which_key_it_used(call: Call, recorded: tuple[str, str, list[bytes]]) -> None:
    """A configured key is used; a wrong one is refused and not shown."""
    events, policy, _ = recorded
    done = call("replay", events, "--policy", policy, ENFORCER_HASH_KEY="ab" * 16)
    assert "configured hash key" in done.stdout
    assert "1 lines were no events: malformed" in done.stdout
    wrong = call("replay", events, ENFORCER_HASH_KEY="secret")
    assert wrong.exit_code == 78
    assert "secret" not in wrong.stdout + wrong.stderr


def test_replay_to_stdout_is_only_lines(call: Call, recorded: tuple[str, str, list[bytes]]) -> None:
    """Commands on stdout stand alone there."""
    events, policy, _ = recorded
    done = call("replay", events, "--policy", policy, "--commands", "-")
    bodies = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["rule"] for each in bodies} == {"crowd"}


def test_a_policy_is_checked_with_line_and_path(call: Call, tmp_path: Path) -> None:
    """A mistake is refused with file, line, path and hint; a good policy is told as such."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    good = call("check", str(file))
    assert good.exit_code == 0
    assert "policy `small`" in good.stdout
    assert "> 3 requests in 1m" in good.stdout
    file.write_text(POLICY.replace("action: throttle", "action: throtle"))
    bad = call("check", str(file))
    assert (bad.exit_code, bad.stdout) == (78, "")
    assert f"{file}:6:" in bad.stderr
    assert "$.rules[0].action" in bad.stderr


def test_remarks_count_where_they_should(call: Call, tmp_path: Path) -> None:
    """What is probably not meant is told; it is an exit code with --strict only."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("rate: 1/s", "rate: 100/s"))
    shown = call("check", str(file), "--json")
    assert shown.exit_code == 0
    (remark,) = json.loads(shown.stdout)["remarks"]
    assert remark["code"] == "throttle-above-limit"
    assert call("check", str(file), "--strict").exit_code == 1
    assert remark["text"] in call("check", str(file)).stdout


def test_schemas_are_written(call: Call, tmp_path: Path) -> None:
    """One file a message and one AsyncAPI document; without a folder it goes to stdout."""
    out = tmp_path / "schemas"
    done = call("schema", "--out", str(out), "--json")
    files = json.loads(done.stdout)["files"]
    assert {Path(each).name for each in files} >= {"asyncapi.json", "request.schema.json"}
    for file in files:
        assert json.loads(Path(file).read_text())
    document = json.loads(call("schema", "--prefix", "blue").stdout)
    assert document["channels"]["requests"]["address"] == "blue.requests"
    assert json.loads(call("schema", "request").stdout)["title"] == "request"
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert call("schema", "--out", str(blocked / "x")).exit_code == 78


def test_what_is_no_event_is_told_with_its_place(
    call: Call, recorded: tuple[str, str, list[bytes]]
) -> None:
    """By file and line, as other verbs do; a program gets the counts."""
    events, policy, _ = recorded
    done = call("replay", events, "--policy", policy)
    assert f"{events}:16: malformed" in done.stderr
    assert done.exit_code == 0
    assert ":16" not in call("replay", events, "--policy", policy, "--json").stderr
    learned = call("baseline", "learn", events, "--out", f"{events}.baseline")
    assert f"{events}:16: malformed" in learned.stderr


def test_an_event_of_an_array_is_told_with_its_line(call: Call, tmp_path: Path) -> None:
    """One that is none among many of a line."""
    events = tmp_path / "events.jsonl"
    good = encode_request(Request(1_000, "spiffe://a/1", "GET /"))
    events.write_bytes(b"\n".join([good, b"", b'[%b, {"kind": "nothing"}]' % good]))
    assert f"{events}:3: " in call("replay", str(events)).stderr


def test_replay_of_no_event_is_not_so(call: Call, tmp_path: Path) -> None:
    """Exit code 1 where there are lines and none is an event."""
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"what\nis this\n")
    assert call("replay", str(events)).exit_code == 1
    events.write_bytes(b"")
    assert call("replay", str(events)).exit_code == 0


def test_a_mark_of_an_editor_is_no_event(call: Call, tmp_path: Path) -> None:
    """What begins with the byte order mark of UTF-8 is read as without it."""
    events = tmp_path / "events.jsonl"
    good = encode_request(Request(1_000, "spiffe://a/1", "GET /"))
    events.write_bytes(b"\xef\xbb\xbf" + good + b"\n")
    summary = json.loads(call("replay", str(events), "--json").stdout)
    assert (summary["events"], summary["rejects"]) == (1, {})


@pytest.mark.parametrize("written", [("--commands",), ("--findings", "--commands")])
def test_no_file_is_read_and_written(
    call: Call, recorded: tuple[str, str, list[bytes]], tmp_path: Path, written: tuple[str, ...]
) -> None:
    """It would be empty before it is read, or hold a mixture: exit code 2, nothing is changed."""
    events, policy, _ = recorded
    before = Path(events).read_bytes()
    place = events if len(written) == 1 else str(tmp_path / "out")
    names = [part for option in written for part in (option, place)]
    done = call("replay", events, "--policy", policy, *names)
    assert done.exit_code == 2
    assert "name another file" in done.stderr
    assert Path(events).read_bytes() == before


def test_convert_does_not_write_what_it_reads(call: Call, tmp_path: Path) -> None:
    """By another name of the same file, too."""
    log, other = tmp_path / "access.log", tmp_path / "other.log"
    log.write_text(LOG)
    other.symlink_to(log)
    assert call("convert", "--format", "nginx", str(log), "-o", str(other)).exit_code == 2
    assert log.read_text() == LOG


def test_a_trail_is_judged_by_the_default_policy(call: Call, tmp_path: Path) -> None:
    """What `convert` makes of CloudTrail has the names that the shipped sequences look for."""
    calls = [
        ("secretsmanager", "GetSecretValue"),
        ("iam", "AttachUserPolicy"),
        ("iam", "CreateAccessKey"),
        ("cloudtrail", "StopLogging"),
        ("cloudtrail", "DeleteTrail"),
    ]
    who = {"arn": "arn:aws:iam::123456789012:user/bob", "accountId": "123456789012"}
    records = [
        {
            "eventTime": f"2026-01-31T12:00:0{second}Z",
            "eventSource": f"{service}.amazonaws.com",
            "eventName": name,
            "userIdentity": who,
        }
        for second, (service, name) in enumerate(calls)
    ]
    trail, events, findings = (tmp_path / name for name in ("trail.json", "events", "findings"))
    trail.write_text(json.dumps({"Records": records}))
    done = call("convert", "--format", "cloudtrail", str(trail), "-o", str(events))
    assert done.exit_code == 0, done.stderr
    done = call("replay", str(events), "--findings", str(findings))
    assert done.exit_code == 0, done.stderr
    found = {json.loads(line)["rule"] for line in findings.read_bytes().splitlines()}
    assert found == {"grant-then-mint", "secrets-then-cover"}

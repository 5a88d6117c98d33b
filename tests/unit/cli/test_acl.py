"""`enforcer acl`: what is printed is what is meant, and a shell and Redis read it as such."""

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stream.cli import main

OPERATIONS = {"Read", "Write", "Create", "Alter", "Describe", "DescribeConfigs"}


def call(*args: str) -> Result:
    """Run the verb on settings that come from nowhere but its options."""
    gone = dict.fromkeys(("ENFORCER_CONFIG", "ENFORCER_PREFIX", "ENFORCER_KAFKA"))
    return CliRunner().invoke(main, ["acl", *args], env=gone)


def said(*args: str) -> dict[str, Any]:
    """What it says as JSON."""
    done = call(*args, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


KINDS = ("--topic", "--group", "--transactional-id")


def test_text_and_json_say_the_same() -> None:
    """The commands hold each right once, with principals as one word, whatever is in them."""
    options = ("--worker", "User:CN=w,O=an example", "--prefix", "team-a", "--zone", "eu")
    rights = said(*options)["kafka"]
    printed = set()
    for line in call(*options).stdout.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["kafka-acls.sh"]:
            pairs = list(itertools.pairwise(words))
            (principal,) = [value for name, value in pairs if name == "--allow-principal"]
            ((kind, resource),) = [each for each in pairs if each[0] in KINDS]
            for name, value in pairs:
                if name == "--operation":
                    printed.add((principal, kind.removeprefix("--"), resource, value))
    keys = ("principal", "resource_type", "resource", "operation")
    assert printed == {tuple(each[key] for key in keys) for each in rights}
    assert len(printed) == len(rights)
    assert {each["operation"] for each in rights} <= OPERATIONS
    assert all(each["resource"].startswith("team-a.") for each in rights)


def test_gateways_of_zones_write_their_own_topic() -> None:
    """With zones there is no gateway that may write `requests`, and each writes one topic."""
    rights = said("--zone", "eu", "--zone", "us=User:edge-us")["kafka"]
    writes = {
        (each["principal"], each["resource"])
        for each in rights
        if each["role"].startswith("gateway") and each["operation"] == "Write"
    }
    assert writes == {
        ("User:enforcer-gateway-eu", "requests.eu"),
        ("User:edge-us", "requests.us"),
    }
    needs = {(each["role"], each["resource"], each["operation"]) for each in rights}
    assert needs >= {
        ("worker", "requests.eu", "Read"),
        ("worker", "requests.eu", "DescribeConfigs"),
        ("worker", "stream-enforcer.zone.eu", "Read"),
        ("operator", "requests.eu", "Write"),
        ("admin", "requests.eu", "Create"),
    }


def test_zones_of_the_settings_have_their_rights(tmp_path: Path) -> None:
    """They need not be named; a zone that nobody would read is a usage error."""
    file = tmp_path / "enforcer.yaml"
    file.write_text('topics: {zones: {eu: ["spiffe://a/eu"], us: ["spiffe://a/us"]}}\n')
    known = said("--config", str(file), "--zone", "us=User:edge-us")["kafka"]
    writers = {each["principal"] for each in known if each["role"].startswith("gateway")}
    assert writers == {"User:enforcer-gateway-eu", "User:edge-us"}
    done = call("--config", str(file), "--zone", "asia")
    assert done.exit_code == 2
    assert "not in topics.zones" in done.stderr


def test_lines_of_redis_name_keys_of_the_prefix_only() -> None:
    """Users may touch the installation's keys, by commands that are named, and nothing else."""
    worker, reader = said("--prefix", "team-a", "--redis-worker", "w")["redis"]
    assert worker["line"].startswith(
        "ACL SETUSER w on clearselectors resetkeys resetchannels -@all"
    )
    for user in (worker, reader):
        rules = [each for each in user["rules"] if each[0] in "~+&%"]
        assert all(each[0] == "+" or each.startswith("~team-a.enforcer:{*}:") for each in rules)
        assert not [each for each in rules if "@" in each or each == "+*"]
        assert not [each for each in user["rules"] if each[0] in "><#" or each == "nopass"]
    assert {each for each in reader["rules"] if each[0] == "+"} == {
        "+eval", "+evalsha", "+hget", "+hmget", "+info"
    }  # fmt: skip


@pytest.mark.parametrize(
    "args",
    [
        ("--worker", "worker"),
        ("--worker", "User:*"),
        ("--worker", "User:a\nb"),
        ("--zone", "a b"),
        ("--zone", "eu=edge"),
        ("--redis-worker", "a b"),
        ("--redis-reader", "x;FLUSHALL"),
    ],
)
def test_names_that_are_none_are_refused(args: tuple[str, str]) -> None:
    """A name that would be read as something else, or as everybody, is a usage error."""
    done = call(*args)
    assert done.exit_code == 2, done.stdout
    assert not done.stdout


def test_password_on_the_command_line_is_refused() -> None:
    """Whoever lists processes would read it; the refusal does not repeat it."""
    for url in ("redis://:hunter2@redis/0", "rediss://me:hunter2@redis/0"):
        done = call("--redis", url)
        assert done.exit_code == 2
        assert "ENFORCER_REDIS_PASSWORD" in done.stderr
        assert "hunter2" not in done.stderr
    assert call("--redis", "rediss://me@redis/0").exit_code == 0

"""What a worker prints at start: every limit, and no secret."""

import json
import logging
import sys

import msgspec
import pytest

from stream.cli.limits import bound_rows, policy_rows, setting_rows, settings_of
from stream.cli.logs import JsonLines, TextLines
from stream.config import Config, load_config
from stream.errors import ConfigError
from stream.kernel import HashKey
from stream.policy import default_policy
from stream.runtime import RECORDS_MAX
from stream.signing import SigningSpec


def record(message: str, **more: object) -> logging.LogRecord:
    """A log record as loggers make them."""
    made = logging.LogRecord("stream.run", logging.WARNING, "", 0, message, (), None)
    vars(made).update(more)
    return made


def test_every_setting_is_shown() -> None:
    """Each field of each Spec has a row."""
    shown = dict(setting_rows(settings_of(Config())))
    for room in ("kafka", "redis", "topics", "worker", "metrics", "processes", "signing"):
        for field in msgspec.structs.fields(type(getattr(Config(), room))):
            assert f"{room}.{field.name}" in shown
    assert shown["worker.slots_max"] == "200,000"
    rows = dict(policy_rows(default_policy(), HashKey(bytes(16)), 1_000))
    row_bytes = default_policy().layout.dtype.itemsize
    assert rows["rows in memory, bytes at most"] == f"{row_bytes * 1_000:,}"
    bounds = dict(bound_rows(1_000))
    assert bounds["records in force, a partition"] == f"{RECORDS_MAX:,}"
    assert bounds["commands in force, in memory"] == "8,000"
    assert all(int(each.replace(",", "")) > 0 for each in bounds.values())


def test_keys_are_named_by_the_environment() -> None:
    """Files of keys, the mode and the installation; a mode that is none is refused."""
    files = {
        "ENFORCER_TRUST_FILE": "t.jwks",
        "ENFORCER_WORKER_KEY_FILE": "w.jwk",
        "ENFORCER_OPERATOR_KEY_FILE": "o.jwk",
        "ENFORCER_INSTALLATION": "blue",
    }
    config = load_config("", {**files, "ENFORCER_SIGNING": "warn"})
    assert config.signing == SigningSpec(
        mode="warn",
        installation="blue",
        trust_file="t.jwks",
        worker_key_file="w.jwk",
        operator_key_file="o.jwk",
    )
    assert dict(setting_rows(settings_of(config)))["signing.worker_key_file"] == "w.jwk"
    assert load_config("", files).signing.mode == "require"
    with pytest.raises(ConfigError, match="maybe"):
        load_config("", {"ENFORCER_SIGNING": "maybe"})


def test_no_secret_is_shown() -> None:
    """A password in a url is not printed; where one is kept may be."""
    config = load_config("", {"ENFORCER_REDIS": "rediss://ada:hunter2@redis.example/3"})
    shown = json.dumps(settings_of(config))
    assert "hunter2" not in shown
    assert "ada" not in shown
    assert "redis.example" in shown
    assert "ENFORCER_REDIS_PASSWORD" in shown


@pytest.mark.parametrize("form", [TextLines(), JsonLines()])
def test_a_log_line_is_one_line(form: logging.Formatter) -> None:
    """Messages that quote hostile text stay one printable line."""
    line = form.format(record("bad name \x1b[2J\nforged line"))
    assert line.isprintable()


def test_json_logs_are_objects() -> None:
    """Time, level, logger, message; settings and errors where there are."""
    entry = json.loads(JsonLines().format(record("hello", settings={"a": 1})))
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "stream.run", "hello")
    assert entry["settings"] == {"a": 1}
    assert entry["at"].endswith("Z")
    try:
        raise ValueError("\x1b[0m")
    except ValueError:
        broken = record("it broke", exc_info=sys.exc_info())
    assert "ValueError" in json.loads(JsonLines().format(broken))["error"]
    assert all(line.isprintable() for line in TextLines().format(broken).splitlines())

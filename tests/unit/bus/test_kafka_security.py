"""Settings of security: those that do not fit together are refused, and none holds a secret."""

import json
import logging
from pathlib import Path

import msgspec
import pytest
from rich.pretty import pretty_repr

from stream.bus import KafkaSpec
from stream.bus.kafka import client_options
from stream.bus.kafka_quiet import Sparse
from stream.cli.limits import setting_rows, settings_of
from stream.config import Config, load_config
from stream.errors import ConfigError

PASSWORD = "s3cret"


def spec(**options: object) -> KafkaSpec:
    """Settings as a configuration file gives them."""
    return msgspec.convert({"kind": "kafka", "bootstrap": "kafka:9092", **options}, KafkaSpec)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"security": "sasl_ssl"}, "needs a user"),
        ({"user": "me"}, "say sasl_ssl"),
        ({"security": "ssl", "user": "me"}, "say sasl_ssl"),
        ({"password_file": "f"}, "say sasl_ssl"),
        ({"ca_file": "f"}, "say ssl or sasl_ssl"),
        ({"security": "sasl_plaintext", "user": "me", "cert_file": "f"}, "say ssl or sasl_ssl"),
        ({"security": "ssl", "key_file": "f"}, "needs a cert_file"),
        ({"security": "SSL"}, "Invalid enum value"),
        ({"security": "sasl_ssl", "user": "me", "mechanism": "GSSAPI"}, "Invalid enum value"),
        ({"security": "sasl_ssl", "user": "me\0you"}, "matching regex"),
        ({"security": "sasl_ssl", "user": "me", "password_env": "A B"}, "matching regex"),
        ({"security": "sasl_ssl", "user": "me", "password": PASSWORD}, "unknown field"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options: dict[str, str], told: str) -> None:
    """A setting that would be without effect is a mistake; a password is no setting at all."""
    with pytest.raises(msgspec.ValidationError, match=told) as caught:
        spec(**options)
    assert PASSWORD not in str(caught.value)


def test_settings_of_the_readme(tmp_path: Path) -> None:
    """The settings for secured servers that the README shows are settings, each of them."""
    lines = (Path(__file__).parents[3] / "README.md").read_text().splitlines()
    shown = [each for each in lines if each.startswith(("kafka: {", "redis: {"))]
    file = tmp_path / "settings.yaml"
    file.write_text("\n".join(shown))
    config = load_config(str(file), {})
    assert len(shown) == 2
    assert (config.kafka.security, config.kafka.user) == ("sasl_ssl", "enforcer-worker")
    assert config.redis.ca_file == "ca.pem"


def test_missing_password_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no place holds a password, both places are named."""
    monkeypatch.delenv("ENFORCER_KAFKA_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match=r"user me.*password_file.*ENFORCER_KAFKA_PASSWORD"):
        client_options(spec(security="sasl_plaintext", user="me"))


def test_password_is_in_no_value_that_could_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets the password; Specs, what a worker prints at start and JSON do not."""
    monkeypatch.setenv("ENFORCER_KAFKA_PASSWORD", PASSWORD)
    given = spec(security="sasl_plaintext", user="me", mechanism="PLAIN")
    assert client_options(given)["sasl_plain_password"] == PASSWORD
    config = Config(kafka=given)
    shown = [repr(given), pretty_repr(config), json.dumps(settings_of(config))]
    shown += [value for _, value in setting_rows(settings_of(config))]
    assert not [each for each in shown if PASSWORD in each]
    assert "ENFORCER_KAFKA_PASSWORD" in "".join(shown)


def test_requests_of_sasl_are_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client logs whole requests at DEBUG; those that hold a password are dropped."""
    monkeypatch.setenv("ENFORCER_KAFKA_PASSWORD", PASSWORD)
    client_options(spec(security="sasl_plaintext", user="me"))
    caplog.set_level(logging.DEBUG, logger="aiokafka.conn")

    class SaslAuthenticateRequest:
        def __repr__(self) -> str:
            return PASSWORD

    log = logging.getLogger("aiokafka.conn")
    for number in range(3):
        log.debug("Request %d: %s", number, SaslAuthenticateRequest())
    sparse = Sparse(0.0)
    log.addFilter(sparse)
    try:
        for number in range(3):
            log.debug("Request %d: %s", number, SaslAuthenticateRequest())
        log.debug("Another request %d: %s", 2, "something else")
    finally:
        log.removeFilter(sparse)
    assert PASSWORD not in caplog.text
    assert "something else" in caplog.text

"""A file of settings: what they may be written as."""

from pathlib import Path

import pytest

from stream.config import Config, load_config, read_text
from stream.errors import ConfigError


def read(folder: Path, text: str) -> Config:
    """Settings as a file gives them."""
    file = folder / "enforcer.yaml"
    file.write_text(text + "\n")
    return load_config(str(file), {})


@pytest.mark.parametrize(
    "name",
    [
        "redis.connect_timeout_s",
        "redis.timeout_s",
        "redis.deadline_s",
        "gateway.io_s",
        "gateway.close_s",
        "gateway.reload_s",
    ],
)
def test_seconds_may_be_a_fraction(tmp_path: Path, name: str) -> None:
    """Whole seconds, and parts of them, alone and beside other settings."""
    room, setting = name.split(".")
    for text, seconds in (("2.5", 2.5), ("0.25", 0.25), ("12", 12.0)):
        config = read(tmp_path, f"policy: 1.5\n{room}: {{{setting}: {text}}}")
        assert getattr(getattr(config, room), setting) == seconds
        assert config.policy == "1.5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("600.5", "<= 600"),
        ("0.001", ">= 0.01"),
        ("-2.5", ">= 0.01"),
        ("1.5.0", "`float`, got `str`"),
        (".5", "`float`, got `str`"),
        ("5.", "`float`, got `str`"),
        ("1e1", "`float`, got `str`"),
        ("nan", "`float`, got `str`"),
        ("2.5s", "`float`, got `str`"),
    ],
)
def test_seconds_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """What is out of bounds or no number is told with its line and path."""
    with pytest.raises(ConfigError, match=said) as caught:
        read(tmp_path, f"redis:\n  timeout_s: {text}")
    assert "enforcer.yaml:2: " in str(caught.value)
    assert "$.redis.timeout_s" in str(caught.value)


def test_digits_stay_text_and_whole_numbers_whole(tmp_path: Path) -> None:
    """A name may look like a number, and nothing but seconds has a fraction."""
    assert read(tmp_path, "redis: {prefix: 1.5}").redis.prefix == "1.5"
    with pytest.raises(ConfigError, match="`int`"):
        read(tmp_path, "redis: {connections: 1.5}")


@pytest.mark.parametrize("file", ["/dev/zero", "a\0b"])
def test_a_file_without_end_or_name_is_refused(file: str) -> None:
    """What is too large is not read to its end, and a name that can be none is told."""
    with pytest.raises(ConfigError, match=r"more than 100 bytes|names no file"):
        read_text(file, 100)


def test_a_file_may_have_as_many_bytes_as_its_bound(tmp_path: Path) -> None:
    """One more is one too many."""
    file = tmp_path / "text"
    file.write_text("x" * 100)
    assert read_text(str(file), 100) == "x" * 100
    with pytest.raises(ConfigError):
        read_text(str(file), 99)


@pytest.mark.parametrize("port", ["", "x", "²", "-1"])
def test_a_port_that_is_none_is_told(port: str) -> None:
    """A digit that is no number of ours, too."""
    with pytest.raises(ConfigError, match="is not a port"):
        load_config("", {"ENFORCER_METRICS": f"127.0.0.1:{port}"})

"""The settings of the Redis store: what is accepted, and that no url is repeated to anybody."""

import msgspec
import pytest
from rich.pretty import pretty_repr

from stream.errors import ConfigError
from stream.store import RedisSpec, RedisStore


def spec(**options) -> RedisSpec:
    """Settings as a configuration file gives them."""
    return msgspec.convert({"kind": "redis", **options}, RedisSpec)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "http://:s3cret@host",
        "redis://",
        "redis://:s3cret@",
        "redis://:s3/cret@host",
        "redis://:s3cret@host:port",
        "redis://:s3cret@host:99999",
        "redis://:s3cret@host/x",
        "redis://:s3cret@host/-1",
        "redis://:s3cret@[::1/0",
        "rediss://:s3cret@host/0?ssl_cert_reqs=none",
        "redis://:s3cret@host/0#1",
    ],
)
def test_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    """A wrong url is a ConfigError that shows none of it, not even as its cause."""
    given = spec(url=url)
    with pytest.raises(ConfigError, match="url") as caught:
        RedisStore(given)
    assert "s3" not in repr(given)
    assert "s3" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_settings_show_no_password() -> None:
    """Neither repr nor rich shows what a url holds beside the place."""
    given = spec(url="rediss://user:s3cret@[::1]:7000/3")
    for shown in (repr(given), str(given), f"{given}", pretty_repr(given)):
        assert "s3cret" not in shown
        assert "rediss://[::1]:7000/3" in shown


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": ""},
        {"prefix": "a{b}"},
        {"prefix": "a b"},
        {"prefix": "a\n"},
        {"prefix": "*"},
        {"prefix": "é"},
        {"prefix": "a" * 65},
        {"timeout_s": 0},
        {"deadline_s": float("inf")},
        {"connections": 0},
        {"ids_per_load": 0},
        {"kind": "memory"},
        {"host": "x"},
    ],
)
def test_settings_out_of_bounds_are_refused(options: dict) -> None:
    """A prefix that is a pattern or a hash tag, a bound that is none, a word we do not know."""
    with pytest.raises(msgspec.ValidationError):
        spec(**options)

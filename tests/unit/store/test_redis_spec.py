"""The settings of the Redis store: what is accepted, and that no url is repeated to anybody."""

import traceback
from pathlib import Path

import msgspec
import pytest
from rich.pretty import pretty_repr

from stream.errors import ConfigError
from stream.store import RedisSpec, RedisStore
from stream.store.redis_link import parse_address


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
    ("url", "option"),
    [
        ("redis://h", "password_file"),
        ("redis+sentinel://h/main", "sentinel_password_file"),
    ],
)
@pytest.mark.parametrize(
    ("content", "told"),
    [(b"hunt\xe9r2", "not UTF-8"), (b"", "empty"), (b"\n", "empty"), (None, "No such file")],
)
def test_password_file_that_holds_none_is_told(
    tmp_path: Path, url: str, option: str, content: bytes | None, told: str
) -> None:
    """It is a ConfigError that names the file, never a connection as nobody; nothing is shown."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as caught:
        RedisStore(spec(url=url, **{option: str(file)}))
    assert str(file) in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunt" not in shown and "xe9" not in shown
    cause = caught.value.__cause__
    assert not isinstance(cause, UnicodeDecodeError)


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


@pytest.mark.parametrize(
    ("url", "mode", "nodes", "service", "db"),
    [
        ("redis://h", "standalone", ["h:6379"], "", 0),
        ("rediss://u:p%40@[::1]:7000/3", "standalone", ["[::1]:7000"], "", 3),
        (
            "redis+sentinel://a,b:1,[::1]/main",
            "sentinel",
            ["a:26379", "b:1", "[::1]:26379"],
            "main",
            0,
        ),
        ("rediss+sentinel://u:s,3@a/ma%20in/2", "sentinel", ["a:26379"], "ma in", 2),
        ("redis+cluster://a:1,b", "cluster", ["a:1", "b:6379"], "", 0),
    ],
)
def test_url_names_servers_sentinels_or_a_cluster(
    url: str, mode: str, nodes: list[str], service: str, db: int
) -> None:
    """A url says of which kind the installation is, and all the places to begin with."""
    address = parse_address(url)
    assert (address.mode, address.service, address.db) == (mode, service, db)
    assert list(map(str, address.nodes)) == nodes
    assert address.has_tls == url.startswith("rediss")
    assert parse_address(address.place)._replace(user="", password="") == address._replace(
        user="", password=""
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://a:s3@h,other",
        "redis+sentinel://:s3@a,b",
        "redis+sentinel://:s3@a,b/",
        "redis+sentinel://:s3@a,,b/main",
        "redis+sentinel://:s3@a/main/0/1",
        "redis+cluster://:s3@a,b/1",
        "redis+cluster://:s3@a?b",
        "redis+ring://:s3@a",
        "http+cluster://:s3@a",
        "redis+cluster://",
    ],
)
def test_url_of_many_that_cannot_be_read(url: str) -> None:
    """Servers without a name for the primary, a database in a cluster, an empty place: refused."""
    with pytest.raises(ConfigError, match="url") as caught:
        RedisStore(spec(url=url))
    assert "s3" not in str(caught.value)

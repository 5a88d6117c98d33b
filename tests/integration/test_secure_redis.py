"""Redis by TLS and with the rights that `enforcer acl` prints: enough, and none too many.

Where ENFORCER_TEST_TLS_REDIS names a redis-server or valkey-server built with TLS, that is asked;
else a Valkey with TLS in front.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from stream.cli.acl import redis_users
from stream.config import Config
from stream.errors import ConfigError
from stream.store import BUCKETS, RedisSpec, RedisStore, Save, redis_rules
from tests.certificates import Authority
from tests.stores import take_over
from tests.tls import tls_in_front_of
from tests.valkey import Valkey, running_valkey

# A busy machine takes its time; what is refused is refused at once all the same.
PATIENCE = {"deadline_s": 20.0, "timeout_s": 10.0, "connect_timeout_s": 10.0}


def spec(url: str, **options: Any) -> RedisSpec:
    """Settings as a configuration file gives them."""
    given = {"kind": "redis", "url": url, "prefix": "t", **PATIENCE, **options}
    return msgspec.convert(given, RedisSpec)


async def work(store: RedisStore) -> None:
    """All that a worker does with a store: rows, names, records, also where there is no room."""
    await store.start()
    claim = await take_over(store, 0, "a")
    rows = [(n << 56, b"1") for n in range(BUCKETS)]
    whole = Save("a", claim.number, rows, {1: "n"}, {b"r": b"1"}, [b"gone"], [5], None)
    number = await store.save(0, whole)
    full = dict.fromkeys(range(2**16 + 1), "n")
    await store.save(0, whole._replace(number=number, names=full))
    assert await store.load(0, [0]) == [b"1"]
    assert await store.scan(0, 0) == [(0, b"1")]
    assert await store.checkpoint(0) is None


async def look(store: RedisStore) -> None:
    """All that `explain` does with a store."""
    await store.start()
    assert await store.load(0, [0]) == [b"1"]
    assert await store.names(0, [1]) == {1: "n"}
    assert await store.checkpoint(0) is None


def attempt(given: RedisSpec, use: Any = work) -> None:
    """Use a store and close it."""

    async def whole() -> None:
        store = RedisStore(given)
        try:
            await use(store)
        finally:
            await store.stop()

    asyncio.run(whole())


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server of this module's own."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


def clean(client: redis.Redis) -> None:
    """Forget all data and scripts."""
    client.flushdb()
    client.script_flush()


@pytest.mark.parametrize("db", [0, 3])
def test_each_rule_of_a_worker_is_needed(valkey: Valkey, db: int) -> None:
    """With the printed rules a worker's store does everything; without one it says which."""
    url = f"redis://least:least@127.0.0.1:{valkey.port}/{db}"
    rules = redis_rules(spec(url), writes=True)
    with contextlib.closing(valkey.client(db=db)) as client:
        clean(client)
        client.execute_command("ACL", "SETUSER", "least", *rules, ">least")
        attempt(spec(url))
        for rule in [each for each in rules if each.startswith(("+", "~")) and each != "+select"]:
            clean(client)
            rest = [each for each in rules if each != rule]
            client.execute_command("ACL", "SETUSER", "least", *rest)
            with pytest.raises(ConfigError, match="ACL must allow") as caught:
                attempt(spec(url))
            if rule.startswith("+"):
                assert rule.removeprefix("+") in str(caught.value).lower()
            if rule not in ("+eval", "+evalsha", "+info"):
                # Rows, names and records: a save was not begun that could not be ended.
                assert not client.keys("t:{0}:[nr]*") or rule == "+hgetall"
        client.execute_command("ACL", "SETUSER", "least", *rules)
        attempt(spec(url))
        with pytest.raises(ConfigError, match="ACL must allow"):
            attempt(spec(url, prefix="other"))


def test_a_database_other_than_the_first_needs_select(valkey: Valkey) -> None:
    """Who keeps rows in another database may choose it; the rules for the first do without."""
    url = f"redis://least:least@127.0.0.1:{valkey.port}/3"
    rules = redis_rules(spec(url), writes=True)
    assert "+select" in rules
    assert "+select" not in redis_rules(spec("redis://127.0.0.1/0"), writes=True)
    with contextlib.closing(valkey.client()) as client:
        client.execute_command(
            "ACL", "SETUSER", "least", *[each for each in rules if each != "+select"], ">least"
        )
        with pytest.raises(ConfigError, match="select"):
            attempt(spec(url))


def test_each_rule_of_a_reader_is_needed(valkey: Valkey) -> None:
    """The user for `explain` reads what a worker has stored; without one of its rules it fails."""
    url = f"redis://reader:reader@127.0.0.1:{valkey.port}/0"
    rules = redis_rules(spec(url), writes=False)
    assert not {"+hset", "+hdel", "+hincrby", "+hsetnx"} & set(rules)
    with contextlib.closing(valkey.client()) as client:
        clean(client)
        attempt(spec(valkey.url))
        client.execute_command("ACL", "SETUSER", "reader", *rules, ">reader")
        attempt(spec(url), look)
        for rule in [each for each in rules if each.startswith(("+", "~"))]:
            client.script_flush()
            rest = [each for each in rules if each != rule]
            client.execute_command("ACL", "SETUSER", "reader", *rest)
            with pytest.raises(ConfigError, match="ACL must allow"):
                attempt(spec(url), look)


def test_printed_lines_change_nothing_when_run_again(valkey: Valkey) -> None:
    """Who is made by the line is nobody without a password, and keeps it when it is run again."""
    (user, _) = redis_users(Config(), "again", "reader")
    line = user["line"].split(" ")
    with contextlib.closing(valkey.client()) as client:
        client.execute_command(*line)
        url = f"redis://again:secret@127.0.0.1:{valkey.port}/0"
        with pytest.raises(ConfigError, match="password"):
            attempt(spec(url, prefix="enforcer"))
        client.execute_command("ACL", "SETUSER", "again", ">secret")
        before = client.execute_command("ACL", "GETUSER", "again")
        client.execute_command(*line)
        assert client.execute_command("ACL", "GETUSER", "again") == before
        attempt(spec(url, prefix="enforcer"))


@contextlib.contextmanager
def tls_server(folder: Path, certificate: str) -> Iterator[int]:
    """A server by TLS that wants client certificates of the authority; its port."""
    files = (folder / f"{certificate}.crt", folder / f"{certificate}.key")
    binary = os.environ.get("ENFORCER_TEST_TLS_REDIS")
    if binary is None:
        with (
            running_valkey(folder) as plain,
            tls_in_front_of(plain.port, files, folder / "authority.pem") as port,
        ):
            yield port
        return
    options = ["--tls-cert-file", str(files[0]), "--tls-key-file", str(files[1])]
    options += ["--tls-ca-cert-file", str(folder / "authority.pem")]
    with running_valkey(folder, *options, binary=Path(binary), speaks_tls=True) as server:
        yield server.port


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates of servers and clients, good ones and bad ones."""
    made = Authority(tmp_path_factory.mktemp("certificates"), "authority")
    made.sign("server", "127.0.0.1")
    made.sign("late", "127.0.0.1", days=-1)
    made.sign("client")
    made.sign("sealed", passphrase="open s3same")
    Authority(made.folder, "stranger").sign("unknown")
    return made


TLS = (
    ("server", {"ca_file": "authority.pem", "us": "client"}, ""),
    ("server", {"ca_file": "authority.pem", "us": "sealed"}, ""),
    ("late", {"ca_file": "authority.pem", "us": "client"}, "certificate has expired"),
    ("server", {"ca_file": "stranger.pem", "us": "client"}, "ca_file must hold the authority"),
    ("server", {"us": "client"}, "ca_file must hold the authority"),
    ("server", {"ca_file": "authority.pem", "us": "unknown"}, "the authority of our certificate"),
    ("server", {"ca_file": "authority.pem", "us": "late"}, "expired.*renew our certificate"),
    ("server", {"ca_file": "authority.pem"}, "wants a client certificate"),
)


@pytest.mark.parametrize(("certificate", "given", "told"), TLS)
def test_tls_both_ways(
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    certificate: str,
    given: dict[str, str],
    told: str,
) -> None:
    """Who trusts each other works; else a ConfigError says who does not trust whom, and why."""
    folder = authority.folder
    monkeypatch.setenv("ENFORCER_REDIS_PASSPHRASE", "open s3same")
    options = {"ca_file": str(folder / given["ca_file"])} if "ca_file" in given else {}
    if "us" in given:
        options["cert_file"] = str(folder / f"{given['us']}.crt")
        options["key_file"] = str(folder / f"{given['us']}.key")

    async def scene() -> None:
        with tls_server(folder, certificate) as port:
            store = RedisStore(spec(f"rediss://127.0.0.1:{port}/0", **options))
            try:
                await store.start()
            finally:
                await store.stop()

    if not told:
        asyncio.run(scene())
        return
    with pytest.raises(ConfigError, match=told):
        asyncio.run(scene())


def test_ca_file_is_all_that_is_trusted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ca_file names an authority, one that this machine trusts cannot vouch for a server."""
    folder = authority.folder
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    options = {"ca_file": str(folder / "stranger.pem"), "cert_file": str(folder / "client.crt")}
    options["key_file"] = str(folder / "client.key")

    async def scene() -> None:
        with tls_server(folder, "server") as port:
            store = RedisStore(spec(f"rediss://127.0.0.1:{port}/0", **options))
            try:
                await store.start()
            finally:
                await store.stop()

    with pytest.raises(ConfigError, match="ca_file must hold"):
        asyncio.run(scene())

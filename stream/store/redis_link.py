"""One Redis or Valkey server, asked patiently: where it is, who we are, what its errors mean.

Everything sent through a `Link` may be sent twice: reads, claims (a nonce claims once) and saves
(their write id is recognised). So a call that fails for a passing reason (connection cut, server
loading, read-only or failing over) is repeated here until the deadline; only then is it
`StoreUnavailable`. The client's own retries are off: two loops would multiply.

A script is one EVALSHA on the keys of one hash slot, and EVAL where the server does not know it.
Nothing else is asked of a server, so a Link to a cluster or through Sentinel fits here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
import redis.asyncio as client
from redis import exceptions as vendor
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stream.errors import ConfigError, EnforcerError, RowCorrupt, StoreUnavailable
from stream.transport import TlsFiles, distrust, read_secret, tls_context

from .redis_tls import TlsConnection

RETRY_FIRST_S: Final = 0.02
RETRY_MAX_S: Final = 0.5

# What passes by itself. Refusals of our user come as ConnectionErrors too, so they go first.
_REFUSED: Final = (
    vendor.AuthenticationError,
    vendor.AuthenticationWrongNumberOfArgsError,
    vendor.AuthorizationError,
)
_PASSING: Final = (
    OSError,
    vendor.ConnectionError,
    vendor.TimeoutError,
    vendor.ReadOnlyError,
    vendor.TryAgainError,
    vendor.ClusterDownError,
)
# The same, where a version of the client has no class for it.
_PASSING_CODES: Final = ("BUSY ", "CLUSTERDOWN ", "MASTERDOWN ")

_Seconds = Annotated[float, msgspec.Meta(ge=0.01, le=600)]
_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class RedisSpec(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="redis",
):
    """Where Redis or Valkey is and how it is used.

    `url` is `redis://` or, for TLS, `rediss://[user[:password]@]host[:port][/db]`. A password is
    better kept in `password_file` (it wins) or in the environment (`password_env`, used last).
    For TLS, `ca_file` names whom we trust (empty: what this machine trusts), `cert_file` and
    `key_file` our own certificate; `passphrase_file` or `passphrase_env` opens an encrypted key.
    `prefix` starts every key; two installations on one server differ in it. `timeout_s` bounds a
    step of one attempt, `deadline_s` a call with all its attempts. `ids_per_load` bounds one
    reply: larger loads are split.
    """

    url: _Text = "redis://127.0.0.1:6379/0"
    prefix: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")] = (
        "enforcer"
    )
    password_file: _Text = ""
    password_env: _Text = "ENFORCER_REDIS_PASSWORD"
    ca_file: _Text = ""
    cert_file: _Text = ""
    key_file: _Text = ""
    passphrase_file: _Text = ""
    passphrase_env: _Text = "ENFORCER_REDIS_PASSPHRASE"
    connect_timeout_s: _Seconds = 2.0
    timeout_s: _Seconds = 5.0
    deadline_s: _Seconds = 15.0
    connections: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    ids_per_load: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 4096

    def __repr__(self) -> str:
        """Name the server; the url itself may hold a password."""
        return f"RedisSpec({_place(self.url)}, prefix={self.prefix!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        """Give rich what repr gives everybody."""
        return [("url", _place(self.url)), ("prefix", self.prefix)]


class Address(NamedTuple):
    """The parts of a url; `place` is all of it that may be printed."""

    place: str
    has_tls: bool
    host: str
    port: int
    db: int
    user: str
    password: str


class Script(NamedTuple):
    """A script and the name a server knows it by, once it has seen it."""

    text: bytes
    sha: str


def read_script(name: str, flags: str = "") -> Script:
    """Return the script of a file below lua/.

    The flags are Redis 7's: a script says beforehand whether it writes, and whether it may run
    while the memory is full; the server refuses it as a whole, before its first line.
    """
    body = resources.files(__package__).joinpath("lua", f"{name}.lua").read_bytes()
    head = f"#!lua flags={flags}\n" if flags else "#!lua\n"
    text = head.encode() + body
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


def parse_address(url: str) -> Address:
    """Return the parts of a url.

    Errors: ConfigError, which never repeats the url: it may hold a password.
    """
    hint = "write redis://host:6379/0, or rediss:// for TLS; percent-encode a user and password"
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
        db = int(parts.path.strip("/") or 0)
        host = parts.hostname or ""
    except ValueError:
        # Not `from` it: the parser's message quotes what it stumbled over.
        raise ConfigError("the url of Redis cannot be read", hint=hint) from None
    is_known = parts.scheme in ("redis", "rediss") and host and not parts.query and db >= 0
    if not is_known or parts.fragment:
        raise ConfigError("the url of Redis cannot be read", hint=hint)
    shown = f"[{host}]" if ":" in host else host
    return Address(
        place=f"{parts.scheme}://{shown}:{port}/{db}",
        has_tls=parts.scheme == "rediss",
        host=host,
        port=port,
        db=db,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _place(url: str) -> str:
    """Return what may be printed of a url, readable or not."""
    try:
        return parse_address(url).place
    except ConfigError:
        return "a url that cannot be read"


class Link:
    """A pool of connections to one server, which heal by themselves."""

    def __init__(self, spec: RedisSpec) -> None:
        address = parse_address(spec.url)
        self.place = address.place
        self._deadline_s = spec.deadline_s
        self._pool: Any = client.BlockingConnectionPool(
            max_connections=spec.connections,
            timeout=spec.timeout_s,
            connection_class=TlsConnection if address.has_tls else client.Connection,
            host=address.host,
            port=address.port,
            db=address.db,
            username=address.user or None,
            password=_password(spec, address) or None,
            # RESP2 needs no handshake and has no push messages to fall out of step with.
            protocol=2,
            socket_timeout=spec.timeout_s,
            socket_connect_timeout=spec.connect_timeout_s,
            retry=Retry(NoBackoff(), 0),
            **_tls(spec, address),
        )
        self._client: Any = client.Redis.from_pool(self._pool)

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        """Run a script on keys of one slot and return its reply.

        Errors: StoreUnavailable, RowCorrupt, ConfigError.
        """

        async def attempt() -> Any:
            try:
                return await self._client.execute_command(
                    "EVALSHA", script.sha, len(keys), *keys, *args
                )
            except vendor.NoScriptError:
                return await self._client.execute_command(
                    "EVAL", script.text, len(keys), *keys, *args
                )

        return await self._patiently(attempt)

    async def ask(self, *command: Any) -> Any:
        """Send a command that only reads and return its reply.

        Errors: StoreUnavailable, RowCorrupt, ConfigError.
        """
        return await self._patiently(lambda: self._client.execute_command(*command))

    async def stop(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _patiently(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """Attempt until it succeeds, fails for good, or the deadline is over."""
        last: vendor.RedisError | OSError | None = None
        wait_s = RETRY_FIRST_S
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    try:
                        return await attempt()
                    except (vendor.RedisError, OSError) as error:
                        fault, is_passing = translate(error, self.place)
                        if not is_passing:
                            raise fault from error
                        last = error
                    if isinstance(last, vendor.ReadOnlyError):
                        # This server was demoted: its name may lead to another one by now.
                        await self._pool.disconnect(inuse_connections=False)
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, RETRY_MAX_S)
        except TimeoutError as error:
            cause = last or error
            reason = f"Redis at {self.place} was of no use for {self._deadline_s:g} s"
            text = f"{reason}: {last}" if last else reason
            raise StoreUnavailable(text) from cause


def translate(error: vendor.RedisError | OSError, place: str) -> tuple[EnforcerError, bool]:
    """Return what an error of the client means to us, and whether it may pass by itself."""
    text = f"Redis at {place}: {error}"
    if isinstance(error, _REFUSED):
        hint = "the password comes from password_file, else the url, else password_env"
        return ConfigError(text, hint=hint), False
    # What a user may not do inside a script comes as a plain error.
    if isinstance(error, vendor.NoPermissionError) or "ACL failure in script" in str(error):
        return ConfigError(text, hint="the user's ACL must allow this, see `enforcer acl`"), False
    found = distrust(error)
    if found is not None:
        return ConfigError(f"Redis at {place}: {found.reason}", hint=found.hint), False
    if str(error).startswith("WRONGTYPE") or "value is not an integer" in str(error):
        hint = "does another application use this prefix? Remove the key or change the prefix"
        return RowCorrupt(text, hint=hint), False
    if isinstance(error, vendor.OutOfMemoryError):
        return StoreUnavailable(text, hint="its memory is full: raise maxmemory"), False
    is_passing = isinstance(error, _PASSING) or str(error).startswith(_PASSING_CODES)
    return StoreUnavailable(text), is_passing


def _password(spec: RedisSpec, address: Address) -> str:
    """Return the password, from the one place that gives it; this is where secrets are read."""
    if spec.password_file:
        try:
            return Path(spec.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"password_file cannot be read: {error}") from error
    return address.password or os.environ.get(spec.password_env, "")


def _tls(spec: RedisSpec, address: Address) -> dict[str, Any]:
    """Return the client's settings for TLS, after having read every file they name once."""
    files = {"ca_file": spec.ca_file, "cert_file": spec.cert_file, "key_file": spec.key_file}
    given = [name for name, value in files.items() if value]
    if not address.has_tls:
        if given:
            raise ConfigError(f"{given[0]} is set, but {address.place} is not rediss://")
        return {}
    passphrase = read_secret(spec.passphrase_file, spec.passphrase_env)
    tls_context(TlsFiles(**files), passphrase)
    return {
        "ssl_ca_certs": spec.ca_file or None,
        "ssl_certfile": spec.cert_file or None,
        "ssl_keyfile": spec.key_file or None,
        "ssl_password": passphrase or None,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }

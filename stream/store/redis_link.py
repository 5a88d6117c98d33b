"""What connects us to Redis or Valkey: where it is, who we are, what its errors mean to us."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from redis import exceptions as vendor
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stream.errors import ConfigError, EnforcerError, RowCorrupt, StoreFull, StoreUnavailable
from stream.transport import TlsFiles, distrust, read_secret, tls_context

from .redis_route import Node

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

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
    vendor.AskError,
)
# The same, where the client has no class for it. NOREPLICAS: a primary with too few replicas
# (min-replicas-to-write), perhaps because the others went on without it. MISCONF: its disk is
# full, or for other reasons does not take its snapshot or log.
_PASSING_CODES: Final = ("BUSY ", "CLUSTERDOWN ", "MASTERDOWN ", "NOREPLICAS ", "MISCONF ")
# What `cause_of` tells apart; the labels of a metric, so a closed list. The first that fits counts.
_CAUSES: Final = (
    (vendor.MovedError, "moved"),
    (vendor.AskError, "ask"),
    (vendor.TryAgainError, "tryagain"),
    (vendor.MasterDownError, "masterdown"),
    (vendor.ClusterDownError, "clusterdown"),
    (vendor.ReadOnlyError, "readonly"),
    (vendor.BusyLoadingError, "loading"),
    (vendor.OutOfMemoryError, "oom"),
    (_REFUSED, "refused"),
    (vendor.NoPermissionError, "refused"),
    (vendor.TimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (vendor.ConnectionError, "connection"),
    (OSError, "connection"),
)

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

    `url` is `redis://[user[:password]@]host[:port][/db]`, `redis+sentinel://host[:port],.../name`
    (Sentinels, and the name they know the primary by) or `redis+cluster://host[:port],...` (some
    servers to begin with); `rediss` for TLS. A password is better kept in `password_file` (it
    wins) or in the environment (`password_env`, used last); Sentinels have one of their own.
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
    sentinel_user: _Text = ""
    sentinel_password_file: _Text = ""
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
    """The parts of a url; `place` is all of it that may be printed.

    `mode` is standalone, sentinel or cluster; `nodes` are servers or, for sentinel, Sentinels.
    """

    place: str
    mode: str
    has_tls: bool
    nodes: tuple[Node, ...]
    service: str
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
    hint = (
        "write redis://host:6379/0, redis+sentinel://host:26379,host:26379/name or "
        "redis+cluster://host:6379,host:6379; rediss for TLS; percent-encode a user and password"
    )
    wrong = ConfigError("the url of Redis cannot be read", hint=hint)
    try:
        parts = urlsplit(url)
        scheme, _, mode = parts.scheme.partition("+")
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        path = [each for each in parts.path.split("/") if each]
        service = unquote(path.pop(0)) if mode == "sentinel" and path else ""
        db = int(path.pop(0)) if path else 0
        port = SENTINEL_PORT if mode == "sentinel" else PORT
        hosts = parts.netloc.rpartition("@")[2].split(",")
        nodes = tuple(_parse_node(each, port) for each in hosts)
    except ValueError:
        # Not `from` it: the parser's message quotes what it stumbled over.
        raise wrong from None
    is_known = scheme in ("redis", "rediss") and mode in ("", "sentinel", "cluster")
    is_whole = bool(service) == (mode == "sentinel") and (mode != "cluster" or db == 0)
    if not is_known or not is_whole or path or parts.query or parts.fragment or db < 0:
        raise wrong
    if not mode and len(nodes) > 1:
        raise wrong
    tail = f"/{service}/{db}" if service else "" if mode else f"/{db}"
    return Address(
        place=f"{parts.scheme}://{','.join(map(str, nodes))}{tail}",
        mode=mode or "standalone",
        has_tls=scheme == "rediss",
        nodes=nodes,
        service=service,
        db=db,
        user=unquote(user),
        password=unquote(password),
    )


def _parse_node(text: str, port: int) -> Node:
    """Return an address, ValueError where it is none."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError
    return Node(parts.hostname, parts.port or port)


def _place(url: str) -> str:
    """Return what may be printed of a url, readable or not."""
    try:
        return parse_address(url).place
    except ConfigError:
        return "a url that cannot be read"


def cause_of(error: Exception) -> str:
    """Return the name of a failure, of a closed list, fit for a metric's label."""
    for code in _PASSING_CODES:
        if str(error).startswith(code):
            return code.strip().lower()
    return next((name for kind, name in _CAUSES if isinstance(error, kind)), "other")


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
        return StoreFull(text, hint="its memory is full: raise maxmemory"), False
    is_passing = isinstance(error, _PASSING) or str(error).startswith(_PASSING_CODES)
    return StoreUnavailable(text), is_passing


def connection_settings(spec: RedisSpec, address: Address) -> dict[str, Any]:
    """Return all that the client is told of a connection, but for host and port."""
    return {
        "db": address.db,
        "username": address.user or None,
        "password": _password(spec, address) or None,
        # RESP2 needs no handshake and has no push messages to fall out of step with.
        "protocol": 2,
        "socket_timeout": spec.timeout_s,
        "socket_connect_timeout": spec.connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        **_tls(spec, address),
    }


def sentinel_settings(spec: RedisSpec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for connections to Sentinels, which have users of their own."""
    password = read_secret(spec.sentinel_password_file, "")
    who = {"username": spec.sentinel_user or None, "password": password or None}
    return {**settings, **who, "db": 0}


def _password(spec: RedisSpec, address: Address) -> str:
    """Return the password, from the one place that gives it. Errors: ConfigError."""
    if address.password and not spec.password_file:
        return address.password
    return read_secret(spec.password_file, spec.password_env)


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

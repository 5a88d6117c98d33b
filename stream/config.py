"""All settings in one place: a YAML file, the environment, the command line; in this order.

    kafka:   {bootstrap: "127.0.0.1:9092"}
    redis:   {url: "redis://127.0.0.1:6379/0"}
    topics:  {partitions: 6, zones: {eu: ["spiffe://prod.example/eu"]}}
    worker:  {slots_max: 200000}
    gateway: {name: edge-1, zone: eu}
    metrics: {host: 127.0.0.1, port: 9464}
    processes: {count: 1}
    policy:  policy.yaml

The environment names what differs between machines: ENFORCER_CONFIG, ENFORCER_KAFKA,
ENFORCER_REDIS, ENFORCER_POLICY, ENFORCER_BASELINE, ENFORCER_PREFIX (of topics, keys and the group),
ENFORCER_METRICS (host:port), ENFORCER_PROCESSES, ENFORCER_ZONE (of a gateway), and the hash key:
ENFORCER_HASH_KEY (32 hex digits) or ENFORCER_HASH_KEY_FILE. The key is read here and is in no value
that could be printed. Keys that sign are named by ENFORCER_WORKER_KEY_FILE and
ENFORCER_OPERATOR_KEY_FILE, those that are believed by ENFORCER_TRUST_FILE, how much they matter by
ENFORCER_SIGNING (`warn`, `require`).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from stream.bus import KafkaSpec
from stream.errors import ConfigError
from stream.gateway import GatewaySpec
from stream.kernel import KEY_BYTES, HashKey
from stream.policy import Policy, default_policy, load_policy, load_settings
from stream.runtime import TopicsSpec, WorkerSpec
from stream.signing import SigningSpec
from stream.store import RedisSpec

CONFIG_BYTES_MAX: Final = 262_144
PROCESSES_MAX: Final = 64
SIGNING: Final = {
    "trust_file": "ENFORCER_TRUST_FILE",
    "worker_key_file": "ENFORCER_WORKER_KEY_FILE",
    "operator_key_file": "ENFORCER_OPERATOR_KEY_FILE",
    "mode": "ENFORCER_SIGNING",
    "installation": "ENFORCER_INSTALLATION",
}
PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}")


class MetricsSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where /metrics, /healthz and /readyz are served; port 0 takes a free one."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 9_464


class ProcessesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many workers `enforcer run` has on this machine, and how it looks after several.

    One that ends by itself is started again after `restart_wait_ms`, after twice that the next
    time, and so on up to `restart_wait_max_ms`; one that had run for `steady_ms` begins anew with
    the shortest wait. What has not ended `stop_wait_ms` after it was told to is killed. So is what
    has not answered, or has said that its loop does not turn, for `hung_after_ms` (0: never).
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=PROCESSES_MAX)] = 1
    restart_wait_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 500
    restart_wait_max_ms: Annotated[int, msgspec.Meta(ge=10, le=3_600_000)] = 30_000
    steady_ms: Annotated[int, msgspec.Meta(ge=100, le=3_600_000)] = 60_000
    stop_wait_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = 20_000
    hung_after_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 60_000

    def __post_init__(self) -> None:
        """Refuse a longest wait that is shorter than the first. Errors: ValueError."""
        if self.restart_wait_max_ms < self.restart_wait_ms:
            raise ValueError("restart_wait_max_ms must not be below restart_wait_ms")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every room's Spec; only cli, replay and simulate see all of it."""

    kafka: KafkaSpec = KafkaSpec(bootstrap="127.0.0.1:9092")
    redis: RedisSpec = RedisSpec()
    topics: TopicsSpec = TopicsSpec()
    worker: WorkerSpec = WorkerSpec()
    gateway: GatewaySpec = GatewaySpec()
    metrics: MetricsSpec = MetricsSpec()
    processes: ProcessesSpec = ProcessesSpec()
    signing: SigningSpec = SigningSpec()
    policy: Annotated[str, msgspec.Meta(max_length=4_096)] = ""


def load_config(file: str, environment: Mapping[str, str]) -> Config:
    """Return the settings of a file (empty: none, or ENFORCER_CONFIG) and the environment.

    Errors: ConfigError `file:line: reason - at $.path`.
    """
    file = file or environment.get("ENFORCER_CONFIG", "")
    config = load_settings(read_text(file, CONFIG_BYTES_MAX), file, Config) if file else Config()
    changes: dict[str, Any] = {}
    prefix = environment.get("ENFORCER_PREFIX", "")
    if environment.get("ENFORCER_KAFKA"):
        changes["kafka"] = _changed(config.kafka, bootstrap=environment["ENFORCER_KAFKA"])
    if environment.get("ENFORCER_REDIS"):
        changes["redis"] = _changed(config.redis, url=environment["ENFORCER_REDIS"])
    if environment.get("ENFORCER_POLICY"):
        changes["policy"] = environment["ENFORCER_POLICY"]
    if environment.get("ENFORCER_BASELINE"):
        changes["worker"] = _changed(config.worker, baseline=environment["ENFORCER_BASELINE"])
    if environment.get("ENFORCER_METRICS"):
        host, _, port = environment["ENFORCER_METRICS"].rpartition(":")
        if not (port.isascii() and port.isdigit()):
            raise ConfigError(
                f"ENFORCER_METRICS: {port!r} is not a port", hint="write 127.0.0.1:9464"
            )
        changes["metrics"] = _changed(config.metrics, host=host or "127.0.0.1", port=int(port))
    if environment.get("ENFORCER_PROCESSES"):
        changes["processes"] = _changed(
            config.processes, count=_number("ENFORCER_PROCESSES", environment)
        )
    if environment.get("ENFORCER_ZONE"):
        changes["gateway"] = _changed(config.gateway, zone=environment["ENFORCER_ZONE"])
    signing = {name: environment[each] for name, each in SIGNING.items() if environment.get(each)}
    if signing:
        changes["signing"] = _changed(config.signing, **signing)
    config = msgspec.structs.replace(config, **changes)
    return with_prefix(config, prefix) if prefix else config


def with_prefix(config: Config, prefix: str) -> Config:
    """Return the settings of an installation whose topics, keys and group start with a prefix."""
    if PREFIX.fullmatch(prefix) is None:
        raise ConfigError(
            f"{prefix[:50]!r} is not a prefix", hint="letters, digits, dot, dash, underscore"
        )
    topics = config.topics
    names = {
        name: f"{prefix}.{getattr(topics, name)}"
        for name in ("requests", "enforcement", "journal", "dead_letters", "baselines")
    }
    topics = _changed(topics, **names)
    return msgspec.structs.replace(
        config,
        kafka=_changed(config.kafka, group=f"{prefix}.{config.kafka.group}"),
        redis=_changed(config.redis, prefix=f"{prefix}.{config.redis.prefix}"[:64]),
        topics=topics,
        gateway=_changed(config.gateway, requests=topics.requests, enforcement=topics.enforcement),
    )


def policy_of(config: Config) -> Policy:
    """Return the policy of the settings, the shipped default where they name none.

    Errors: PolicyError, ConfigError.
    """
    if not config.policy:
        return default_policy()
    return load_policy(read_text(config.policy, CONFIG_BYTES_MAX), config.policy)


def hash_key(environment: Mapping[str, str]) -> HashKey:
    """Return the secret of the keyed hashes.

    Errors: ConfigError, which never shows the secret.
    """
    text = environment.get("ENFORCER_HASH_KEY", "")
    place = "ENFORCER_HASH_KEY"
    if not text and environment.get("ENFORCER_HASH_KEY_FILE"):
        place = environment["ENFORCER_HASH_KEY_FILE"]
        text = read_text(place, 4_096)
    if not text:
        raise ConfigError(
            "there is no hash key",
            hint="set ENFORCER_HASH_KEY_FILE to a file with 32 hex digits, "
            "made by `openssl rand -hex 16`; every worker of an installation needs the same",
        )
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError(f"{place}: the hash key must be {2 * KEY_BYTES} hex digits")
    return HashKey(secret)


def make_hash_key(file: Path) -> None:
    """Write a new hash key to a file that only its owner may read, unless it is there already."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(secrets.token_hex(KEY_BYTES) + "\n")


def read_text(file: str, bytes_max: int) -> str:
    """Return the text of a file an operator named.

    Errors: ConfigError when it cannot be read, is no UTF-8, or is larger than `bytes_max`.
    """
    try:
        with Path(file).open("rb") as source:
            data = source.read(bytes_max + 1)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in its name
        raise ConfigError(f"{file!r} names no file: {error}") from error
    if len(data) > bytes_max:
        raise ConfigError(f"{file}: more than {bytes_max:,} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}") from error


def _number(name: str, environment: Mapping[str, str]) -> int:
    text = environment[name]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(f"{name}: {text[:50]!r} is no number")
    return int(text)


def _changed(spec: Any, **changes: Any) -> Any:
    """Return a Spec with other values, checked as if they had been in the file."""
    values = {**msgspec.structs.asdict(spec), **changes}
    kind = {"kind": spec.__struct_config__.tag} if spec.__struct_config__.tag else {}
    try:
        return msgspec.convert(msgspec.to_builtins(values) | kind, type(spec))
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error

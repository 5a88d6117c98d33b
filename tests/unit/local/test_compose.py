"""compose.yaml and Dockerfile, as far as they can be judged without a Docker engine.

Their shape is Docker's business (`docker compose config`); here is what ties them to this
repository and to our promises: files, commands, variables, ports, and what a container may do.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.local.folder import Ports
from stream.local.jars import KAFKA_VERSION
from stream.local.kafka import server_properties

REPO = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((REPO / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = sorted(name for name, service in SERVICES.items() if service["restart"] != "no")
DOCKERFILE = (REPO / "Dockerfile").read_text()
# Read in the upstream Dockerfiles: these switch to a user of their own.
NOT_ROOT = re.compile(r"apache/kafka:|prom/prometheus:")
COMMAND_IS_MISSING = not (REPO / "stream" / "cli" / "__init__.py").exists()


def bound_files(service: dict[str, Any]) -> list[str]:
    return [each.split(":")[0] for each in service.get("volumes", []) if each.startswith(".")]


def sizes(text: str) -> int:
    """Bytes of what compose or Valkey call 768mb, 1536m or 2g."""
    number, unit = re.fullmatch(r"(\d+)([mg])b?", text).groups()  # type: ignore[union-attr]
    return int(number) << {"m": 20, "g": 30}[unit]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_refers_to_what_is_there(name: str) -> None:
    """Bound files exist, named volumes are declared, and what it waits for is a service."""
    service = SERVICES[name]
    for file in bound_files(service):
        assert (REPO / file).is_file(), file
    for volume in service.get("volumes", []):
        assert volume.startswith(".") or volume.split(":")[0] in COMPOSE["volumes"], volume
    for other, how in service.get("depends_on", {}).items():
        wants_health = how["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[other] or not wants_health, other


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_may_do_little(name: str) -> None:
    """No root, no capability, no new privilege, bounded memory, processes and logs."""
    service = SERVICES[name]
    assert "user" in service or NOT_ROOT.match(service["image"])
    assert not str(service.get("user", "1")).startswith(("0", "root"))
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) >= {"memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    assert not service.get("privileged")


def test_only_kafka_writes_to_its_image() -> None:
    """Every other root is read-only; Kafka's scripts write their configuration there."""
    assert [name for name, service in SERVICES.items() if not service.get("read_only")] == ["kafka"]


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_service_is_watched(name: str) -> None:
    """Each has a health check, a restart policy, and a version that is not `latest`."""
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"
    assert not service["image"].endswith(":latest") and ":" in service["image"]


def test_nothing_is_open_to_the_network() -> None:
    """No server here authenticates, so every published port is on the loopback address."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_containers_run_what_enforcer_up_runs() -> None:
    """The same Kafka version; the same rules for topics and copies; a Redis that never evicts."""
    kafka = SERVICES["kafka"]
    assert kafka["image"] == f"apache/kafka:{KAFKA_VERSION}"
    ours = server_properties(Ports(kafka=1, controller=2, redis=3), "data")
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in kafka["environment"].items()
    }
    settings.pop("heap.opts")
    for name in settings.keys() & ours.keys() - {"listeners", "advertised.listeners", "log.dirs"}:
        if name != "listener.security.protocol.map":
            assert settings[name] == ours[name], name
    valkey = SERVICES["valkey"]
    command = valkey["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"
    limit = valkey["deploy"]["resources"]["limits"]["memory"]
    assert sizes(command[command.index("--maxmemory") + 1]) <= 0.75 * sizes(limit)


def test_prometheus_asks_the_workers() -> None:
    """The port is the one that the worker exposes and its health check uses."""
    (file,) = bound_files(SERVICES["prometheus"])
    (job,) = yaml.safe_load((REPO / file).read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    worker = SERVICES["worker"]
    assert found["names"] == ["worker"]
    assert worker["expose"] == [str(found["port"])]
    assert f":{found['port']}/readyz" in worker["healthcheck"]["test"][-1]


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """16 bytes in hex, readable by its owner only; a second run leaves it as it is."""
    file = tmp_path / "hash.key"
    command = [part.replace("$$", "$") for part in SERVICES["key"]["command"]]
    variables = {"PATH": os.environ["PATH"], "ENFORCER_HASH_KEY_FILE": str(file)}
    subprocess.run(command, env=variables, check=True)
    first = file.read_text()
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert file.stat().st_mode & 0o777 == 0o600
    subprocess.run(command, env=variables, check=True)
    assert file.read_text() == first
    assert list(tmp_path.iterdir()) == [file]


def test_the_image_copies_what_is_there() -> None:
    """Each source of a COPY exists, and .dockerignore lets it in."""
    allowed = {
        line.removeprefix("!")
        for line in (REPO / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied
    for source in copied:
        assert (REPO / source).exists(), source
        assert source.split("/")[0] in allowed, source


def test_image_and_compose_agree() -> None:
    """User, folders and the entry point's cache are the same in both."""
    user = SERVICES["worker"]["user"]
    assert f"\nUSER {user}\n" in DOCKERFILE
    (cache,) = re.findall(r"^ENV XDG_CACHE_HOME=(\S+)$", DOCKERFILE, re.MULTILINE)
    mounted = [each.split(":")[0] for each in SERVICES["worker"]["tmpfs"]]
    assert cache in mounted
    (volume,) = SERVICES["worker"]["volumes"]
    assert volume.split(":")[1] in DOCKERFILE
    file = SERVICES["worker"]["environment"]["ENFORCER_HASH_KEY_FILE"]
    assert Path(file).parent == Path(volume.split(":")[1])


def test_the_entry_point_brings_the_kernels(tmp_path: Path) -> None:
    """Compiled kernels are where the command looks for them, and its arguments arrive whole."""
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    command = yaml.safe_load(entry)
    image, cache = tmp_path / "image", tmp_path / "cache"
    (image / "stream-enforcer").mkdir(parents=True)
    (image / "stream-enforcer" / "kernel.nbi").write_text("compiled")
    cache.mkdir()
    command = [part.replace("/opt/kernels", str(image)) for part in command]
    done = subprocess.run(
        [*command, "echo", "a  b", "c"],
        env={"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a  b c\n"
    assert (cache / "stream-enforcer" / "kernel.nbi").read_text() == "compiled"


@pytest.mark.parametrize("what_is_wrong", ["image", "cache"])
def test_the_entry_point_runs_without_the_kernels(tmp_path: Path, what_is_wrong: str) -> None:
    """Where they cannot be read, or there is nowhere to write, the command runs and is told."""
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    image, cache = tmp_path / "image", tmp_path / "cache"
    # Neither is a folder: not even root could read the one or write the other.
    for each in (image, cache):
        if each.name == what_is_wrong:
            each.write_text("")
        else:
            each.mkdir()
    command = [part.replace("/opt/kernels", str(image)) for part in yaml.safe_load(entry)]
    done = subprocess.run(
        [*command, "sh", "-c", 'echo "$1"; exit 3', "--", "a  b"],
        env={"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "a  b\n")


def test_other_users_may_read_the_kernels() -> None:
    """Whoever runs the image, the kernels are readable; what is kept is its owner's alone."""
    modes = {
        folder: mode
        for line in DOCKERFILE.replace("\\\n", " ").splitlines()
        for mode, folders in re.findall(r"install --directory [^&]*--mode (\d+)([^&]*)", line)
        for folder in folders.split()
    }
    assert modes["/opt/kernels"] == "0755"
    assert modes["/var/lib/enforcer"] == "0700"


@pytest.mark.skipif(COMMAND_IS_MISSING, reason="stream.cli is not written yet")
def test_commands_and_variables_exist() -> None:
    """Every verb that compose and Dockerfile use is the command's; every variable is read."""
    import click

    from stream.cli import main

    text = (REPO / "compose.yaml").read_text() + DOCKERFILE
    verbs = set(re.findall(r"enforcer[\", ]+([a-z]+)\b(?=[\]\"\n])", text))
    assert {"run", "warm"} <= verbs
    assert isinstance(main, click.Group)
    assert not verbs - set(main.list_commands(click.Context(main)))
    sources = "".join(file.read_text() for file in (REPO / "stream").rglob("*.py"))
    for name in re.findall(r"\bENFORCER_[A-Z_]+\b", text):
        assert name in sources, name

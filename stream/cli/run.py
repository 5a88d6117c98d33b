"""`run`: one worker, from its settings to a clean end.

SIGTERM and SIGINT let it save, leave the group and end; a second one ends it at once, which costs
a replay of some seconds and nothing else. SIGHUP reads the policy file again: a good one is in
force everywhere from the next events on, a bad one changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import click

from stream.config import Config, hash_key, load_config, policy_of
from stream.errors import ConfigError
from stream.kernel import HashKey, cache_folder
from stream.metrics import Metrics, MetricsServer
from stream.policy import Policy, load_policy
from stream.runtime import Keys, SystemClock, Worker
from stream.warm import settle, warm

from .doors import keys_of, wait_for, worker_doors
from .failure import INTERRUPTED
from .limits import bound_rows, policy_rows, setting_rows, settings_of
from .logs import start_logging
from .options import configured, examples, json_option
from .screen import Screen

log = logging.getLogger("stream.run")


class Plan(NamedTuple):
    """All that a worker is started with."""

    config: Config
    policy: Policy
    key: HashKey
    name: str
    keys: Keys


@click.command(
    "run",
    epilog=examples(
        "enforcer run",
        "enforcer run --policy policy.yaml --log json",
        "ENFORCER_KAFKA=kafka:9092 ENFORCER_REDIS=rediss://redis/0 enforcer run",
        "kill -HUP PID     let a changed policy file take effect",
    ),
)
@configured("policy", "config", "kafka", "redis", "prefix")
@click.option(
    "--reload",
    "is_reload",
    is_flag=True,
    help="Let the policy file take effect everywhere, also where a journal names another policy.",
)
@click.option("--name", metavar="WORD", default="", help="This worker's name in journals and logs.")
@click.option(
    "--log", "form", type=click.Choice(["text", "json"]), default="text", help="Form of the logs."
)
@click.option("--verbose", is_flag=True, help="Log more.")
@click.option(
    "--until-stdin-ends", is_flag=True, hidden=True, help="End as by SIGTERM when stdin is closed."
)
@json_option
def run(
    *,
    environment: dict[str, str],
    is_reload: bool,
    name: str,
    form: str,
    verbose: bool,
    until_stdin_ends: bool,
    is_json: bool,
) -> None:
    """Run a worker: profile workloads, publish commands.

    Joins the consumer group of the topic `requests` and works until it is told to stop. All
    workers of an installation need the same hash key (ENFORCER_HASH_KEY_FILE). The policy file
    takes effect where no journal names a policy yet; `--reload` or SIGHUP let it take effect
    everywhere. `--json` is `--log json`. /metrics, /healthz and /readyz are at ENFORCER_METRICS.
    """
    is_json = is_json or form == "json"
    start_logging(logging.DEBUG if verbose else logging.INFO, is_json=is_json)
    config = load_config("", environment)
    plan = Plan(
        config,
        policy_of(config),
        hash_key(environment),
        name or f"{socket.gethostname()}-{os.getpid()}"[:64],
        keys_of(config, "worker"),
    )
    _show(plan, is_json=is_json)
    compile_kernels(log.info)
    settle()
    wait_for(_work(plan, environment, is_reload=is_reload, has_stdin=until_stdin_ends))


def compile_kernels(say: Callable[[str], None]) -> float:
    """Have all kernels compiled, say so where that takes long; return the seconds it took."""
    folder = cache_folder()
    if not any(folder.rglob("*.nbc")):
        say(f"compiling the kernels into {folder}, once for this version: some 10 to 30 s")
    began_s = time.monotonic()
    warm()
    took_s = time.monotonic() - began_s
    say(f"kernels are ready after {took_s:.1f} s")
    return took_s


def _show(plan: Plan, *, is_json: bool) -> None:
    """Say every setting and limit, before anything is done with them."""
    settings = settings_of(plan.config)
    of_policy = policy_rows(plan.policy, plan.key, plan.config.worker.slots_max)
    signer, trust = plan.keys
    of_policy += [
        ("signs with key", signer.key_id if signer is not None else ""),
        ("believes keys", ", ".join(trust.key_ids) if trust is not None else ""),
    ]
    bounds = bound_rows(plan.config.worker.slots_max)
    if is_json:
        shown = {
            **settings,
            "policy_in_file": dict(of_policy),
            "bounds": dict(bounds),
            "name": plan.name,
        }
        log.info("settings", extra={"settings": shown})
        return
    screen = Screen(is_json=False)
    screen.note(f"worker {plan.name}", "bold")
    for path, value in [*setting_rows(settings), *of_policy, *bounds]:
        screen.note(f"  {path:38} {value or '-'}")


async def _work(
    plan: Plan, environment: dict[str, str], *, is_reload: bool, has_stdin: bool
) -> None:
    """Run the worker until a signal, or until its stdin is closed where that is its leash."""
    metrics = Metrics()
    worker = Worker(
        (plan.config.worker, plan.config.topics),
        worker_doors(plan.config, metrics),
        (plan.policy, load_policy),
        plan.key,
        (SystemClock(), metrics, plan.name),
        plan.keys,
    )
    if is_reload:
        worker.reload(plan.policy)
    server = _serve(plan.config, metrics, worker)
    loop = asyncio.get_running_loop()

    def end() -> None:
        log.info("stopping: saving and leaving the group; once more to end at once")
        worker.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, os._exit, INTERRUPTED)

    def read_stdin() -> None:
        if not os.read(0, 4_096):
            loop.remove_reader(0)
            end()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, lambda: reload_policy(worker, plan.config))
    if has_stdin:
        loop.add_reader(0, read_stdin)
    server.start()
    log.info("metrics at http://%s:%d/metrics", plan.config.metrics.host, server.port)
    try:
        await worker.run()
    finally:
        server.stop()
    log.info("stopped")


def reload_policy(worker: Worker, config: Config) -> None:
    """Let the policy file take effect, or keep the policy in force and log why."""
    try:
        policy = policy_of(config)
    except ConfigError as error:
        log.error("the policy in force stays: %s", error)  # noqa: TRY400 - the operator's fault
        return
    worker.reload(policy)
    log.info("policy %s %s takes effect from the next events on", policy.spec.name, policy.hash)


def _serve(config: Config, metrics: Metrics, worker: Worker) -> MetricsServer:
    """Return the server of metrics, not started. Errors: ConfigError when its port is taken."""
    address = config.metrics.host, config.metrics.port
    try:
        return MetricsServer(metrics, address, worker.ready, worker.healthy)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be served at {address[0]}:{address[1]}: {error.strerror}",
            hint="name another host:port in ENFORCER_METRICS; port 0 takes a free one",
        ) from error

"""`acl`: the least rights with which everything works, as commands for Kafka and for Redis."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import click

from stream.config import Config, load_config

from .options import Command, examples, json_option, reaching
from .rights import Principals, Right, kafka_rights
from .screen import Screen

NOTES: Final = (
    "A worker may not create topics: let the admin run `enforcer topics` first.",
    "A zone is read where the workers' settings have it in topics.zones, with its SPIFFE prefixes.",
    "Brokers before Kafka 2.8: whoever writes also needs --operation IdempotentWrite --cluster.",
    "A user of Redis can be nobody until it has a password: ACL SETUSER NAME '#HASH'.",
    'HASH is what `printf %s "$PASSWORD" | sha256sum` prints; ACL SAVE or CONFIG REWRITE keeps it.',
)


class PrincipalType(click.ParamType[str]):
    """Who a broker says that we are, such as User:worker."""

    name = "principal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the principal. Errors: BadParameter."""
        text = str(value)
        if re.fullmatch(r"[A-Za-z]+:[^\s*][^\n\r]{0,254}", text) is None or not text.isprintable():
            self.fail(f"{text!r:.80} is no principal: write User:NAME", param, ctx)
        return text


class RedisUserType(click.ParamType[str]):
    """The name of a user of Redis."""

    name = "user"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name. Errors: BadParameter."""
        if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", str(value)) is None:
            self.fail("write letters, digits, dot, dash, underscore", param, ctx)
        return str(value)


class ZoneType(click.ParamType[tuple[str, str]]):
    """`eu`, or `eu=User:edge-eu` with the principal of its gateways."""

    name = "zone"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return zone and principal. Errors: BadParameter."""
        if isinstance(value, tuple):
            return value
        zone, _, principal = str(value).partition("=")
        if re.fullmatch(r"[A-Za-z0-9._-]{1,48}", zone) is None:
            self.fail("a zone is a part of a topic's name: letters, digits, . - _", param, ctx)
        if not principal:
            return zone, _gateways_of(zone)
        return zone, PRINCIPAL.convert(principal, param, ctx)


def _gateways_of(zone: str) -> str:
    return f"User:enforcer-gateway-{zone}"


PRINCIPAL: Final = PrincipalType()
REDIS_USER: Final = RedisUserType()


def _principal(name: str, default: str, text: str) -> Callable[[Command], Command]:
    return click.option(name, type=PRINCIPAL, default=default, show_default=True, help=text)


@click.command(
    "acl",
    epilog=examples(
        "enforcer acl",
        "enforcer acl --zone eu --zone us=User:edge-us",
        "enforcer acl --worker 'User:CN=worker,O=example' --prefix team-a",
        "enforcer acl --json | jq -r '.redis[].line'",
    ),
)
@_principal("--worker", "User:enforcer-worker", "The workers' principal at Kafka.")
@_principal("--gateway", "User:enforcer-gateway", "The gateways', where there are no zones.")
@_principal("--operator", "User:enforcer-operator", "Whoever stops, exempts, lifts, lists.")
@_principal("--admin", "User:enforcer-admin", "Whoever runs `enforcer topics`.")
@click.option(
    "--zone",
    "zones",
    type=ZoneType(),
    multiple=True,
    metavar="ZONE[=PRINCIPAL]",
    help="Gateways that may write requests.ZONE only, and nothing else. Can be repeated; the zones"
    " of the settings are always there.",
)
@click.option("--redis-worker", type=REDIS_USER, default="enforcer-worker", show_default=True)
@click.option("--redis-reader", type=REDIS_USER, default="enforcer-reader", show_default=True)
@reaching
@json_option
def acl(
    *,
    worker: str,
    gateway: str,
    operator: str,
    admin: str,
    zones: tuple[tuple[str, str], ...],
    redis_worker: str,
    redis_reader: str,
    environment: dict[str, str],
    is_json: bool,
) -> None:
    """Print the least rights that each role needs.

    Commands for Kafka (kafka-acls.sh) and Redis (ACL SETUSER) that let workers, gateways,
    operators and whoever makes topics do their work, and nothing else. Nothing is changed: give
    the commands to whoever runs the servers. Run again they change nothing.
    """
    config, screen = load_config("", environment), Screen(is_json=is_json)
    zones = _with_configured(config, zones)
    rights = kafka_rights(config, Principals(worker, gateway, operator, admin, zones))
    users = redis_users(config, redis_worker, redis_reader)
    screen.emit({"kafka": rights, "redis": users, "notes": NOTES})
    for line in kafka_lines(config, rights):
        screen.line(line)
    for user in users:
        screen.line(f"# Redis: {user['role']}")
        screen.line(user["line"])
    for note in NOTES:
        screen.line(f"# {note}")


def _with_configured(
    config: Config, named: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Return the zones with their principals: those of the settings, and those named.

    Errors: UsageError for a zone that the settings, which have some, do not know.
    """
    known = {zone: _gateways_of(zone) for zone in config.topics.zones}
    foreign = [zone for zone, _ in named if known and zone not in known]
    if foreign:
        raise click.UsageError(f"zone {foreign[0]} is not in topics.zones: nobody would read it")
    return tuple((known | dict(named)).items())


def kafka_lines(config: Config, rights: Sequence[Right]) -> Iterator[str]:
    """Yield a comment for each role, and a command for each resource of it."""
    for (role, principal), of_role in groupby(rights, lambda each: (each.role, each.principal)):
        yield f"# Kafka: {principal}, {role}"
        for (kind, resource), found in groupby(
            of_role, lambda each: (each.resource_type, each.resource)
        ):
            operations = [part for each in found for part in ("--operation", each.operation)]
            where = ["--bootstrap-server", config.kafka.bootstrap]
            who = ["--command-config", "admin.properties", "--add", "--allow-principal", principal]
            yield shlex.join(["kafka-acls.sh", *where, *who, *operations, f"--{kind}", resource])


def redis_users(config: Config, worker: str, reader: str) -> list[dict[str, Any]]:
    """Return the users of Redis with their rules, and the line that makes each."""
    from stream.store import redis_rules

    users = []
    for role, user, writes in (
        ("worker", worker, True),
        ("reader, for `enforcer explain`", reader, False),
    ):
        rules = redis_rules(config.redis, writes=writes)
        line = " ".join(["ACL", "SETUSER", user, *rules])
        users.append({"role": role, "user": user, "rules": rules, "line": line})
    return users

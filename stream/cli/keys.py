"""`keys`: make, look at and retire the keys that sign commands. No secret is ever shown."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from stream.errors import ConfigError
from stream.signing import (
    ALGORITHMS,
    ROLES,
    Algorithm,
    Jwk,
    Role,
    new_key,
    public_part,
    read_trusted,
    write_key,
    write_trusted,
)

from .failure import NotSo
from .logs import utc_text
from .options import WHOLE_INPUT, SpanType, examples, json_option
from .screen import Screen

FILE: Final = click.Path(dir_okay=False)
SPAN: Final = SpanType(1_000, 10 * 365 * 86_400_000)


@click.group(
    "keys",
    epilog=examples(
        "enforcer keys generate worker.jwk --role worker --trust trusted.jwks",
        "enforcer keys generate operator.jwk --role operator --trust trusted.jwks",
        "enforcer keys list trusted.jwks",
        "enforcer keys retire trusted.jwks worker-3f9c21",
    ),
)
def keys() -> None:
    """Make, list and retire the keys that sign commands.

    A worker signs with the key in ENFORCER_WORKER_KEY_FILE, `stop`, `start`, `exempt` and `lift`
    with that in ENFORCER_OPERATOR_KEY_FILE; gateways, workers and verbs believe the keys in
    ENFORCER_TRUST_FILE. Ed25519 keys need `pip install 'stream-enforcer[signing]'`. Each of these
    has examples, and --json.
    """


@keys.command(
    "generate",
    epilog=examples(
        "enforcer keys generate worker.jwk --role worker --trust trusted.jwks",
        "enforcer keys generate worker.jwk --role worker --algorithm hmac --trust trusted.jwks",
        "enforcer keys generate next.jwk --role worker --for 90d --trust trusted.jwks",
    ),
)
@click.argument("file", type=FILE)
@click.option("--role", required=True, type=click.Choice(ROLES), help="What it may sign.")
@click.option(
    "--algorithm", default="ed25519", show_default=True, type=click.Choice(ALGORITHMS),
    help="hmac: who verifies could sign as well.",
)  # fmt: skip
@click.option("--id", "kid", metavar="WORD", help="Its id; without it one is made.")
@click.option("--for", "lasts_ms", type=SPAN, help="It is good for so long, such as 90d.")
@click.option("--trust", type=FILE, help="Add its public part to this file.")
@json_option
def generate(
    *,
    file: str,
    role: Role,
    algorithm: Algorithm,
    kid: str | None,
    lasts_ms: int | None,
    trust: str | None,
    is_json: bool,
) -> None:
    """Write a new secret key to FILE.

    Only its owner can read it; a FILE that exists is never written over. With --trust its public
    part is added to a file of keys that are believed, which is made if it is missing.
    """
    now_s = int(time.time())
    exp = now_s + lasts_ms // 1_000 if lasts_ms is not None else 0
    key = new_key(kid or f"{role}-{secrets.token_hex(3)}", algorithm, role, exp=exp)
    trusted = read_trusted(trust) if trust and Path(trust).exists() else []
    if any(each.kid == key.kid for each in trusted):
        raise NotSo(f"{trust} has a key {key.kid} already", hint="choose another --id")
    write_key(file, key)
    if trust:
        write_trusted(trust, [*trusted, public_part(key)])
    screen = Screen(is_json=is_json)
    screen.emit(_shown(key) | {"file": file, "trust": trust or ""})
    screen.line(f"{key.kid}: a new {algorithm} key for the role {role} in {file}")
    if trust:
        screen.line(f"believed by whoever has {trust}")
        if algorithm == "hmac":
            screen.line(f"{trust} is a secret now: who has it can sign as well", "yellow")


@keys.command("list", epilog=examples("enforcer keys list trusted.jwks worker.jwk"))
@click.argument("files", nargs=-1, required=True, type=WHOLE_INPUT)
@json_option
def list_keys(*, files: tuple[str, ...], is_json: bool) -> None:
    """List the keys in FILES: ids, roles, when they are good, fingerprints."""
    found = [{"file": file, **_shown(key)} for file in files for key in read_trusted(file)]
    screen = Screen(is_json=is_json)
    screen.emit(found)
    columns = ("file", "id", "role", "algorithm", "secret", "good from", "until", "fingerprint")
    screen.table("", columns, [_row(each) for each in found], "there is no key")


@keys.command("show", epilog=examples("enforcer keys show worker.jwk > worker.public.jwk"))
@click.argument("file", type=WHOLE_INPUT)
@json_option
def show(*, file: str, is_json: bool) -> None:
    """Print the public part of the key in FILE, as a JSON Web Key.

    An HMAC key has none (exit code 1).
    """
    screen = Screen(is_json=is_json)
    for key in read_trusted(file):
        public = public_part(key)
        if public.is_secret:
            raise NotSo(
                f"{key.kid} is an HMAC key, which has no public part",
                hint=f"`enforcer keys list {file}` shows what may be seen of it",
            )
        screen.emit(public)
        screen.line(msgspec.json.encode(public).decode())


@keys.command(
    "retire",
    epilog=examples(
        "enforcer keys retire trusted.jwks worker-3f9c21",
        "enforcer keys retire trusted.jwks worker-3f9c21 --remove     it was stolen",
    ),
)
@click.argument("file", type=WHOLE_INPUT)
@click.argument("kid", metavar="ID")
@click.option("--in", "in_ms", type=SPAN, help="In so long; without it now.")
@click.option("--remove", is_flag=True, help="Take it out: what it has signed is not believed.")
@json_option
def retire(*, file: str, kid: str, in_ms: int | None, remove: bool, is_json: bool) -> None:
    """Let nothing more be signed with a key that is believed.

    What was written before that stays believed until it expires; `enforcer list` shows how many
    records are still held by key. With --remove nothing that it signed is believed any more, which
    is what a stolen key needs.
    """
    trusted = read_trusted(file)
    if not any(each.kid == kid for each in trusted):
        raise NotSo(f"{file} has no key {kid:.80}", hint=f"`enforcer keys list {file}`")
    if remove and len(trusted) == 1:
        raise ConfigError("the last key stays: without one nothing could be believed")
    at_s = int(time.time()) + (in_ms or 0) // 1_000
    left = _without(trusted, kid) if remove else _retired(trusted, kid, at_s)
    write_trusted(file, left)
    screen = Screen(is_json=is_json)
    screen.emit({"id": kid, "removed": remove, "until": None if remove else utc_text(at_s)})
    screen.line(
        f"{kid} is removed from {file}" if remove else f"{kid} is good until {utc_text(at_s)} UTC"
    )
    screen.line("give the file to every gateway and worker, and restart them")


def _without(trusted: Sequence[Jwk], kid: str) -> list[Jwk]:
    return [each for each in trusted if each.kid != kid]


def _retired(trusted: Sequence[Jwk], kid: str, at_s: int) -> list[Jwk]:
    """Return the keys with one that ends; an end that it has is never put off."""
    changed = []
    for key in trusted:
        if key.kid != kid:
            changed.append(key)
            continue
        end_s = max(min(at_s, key.exp or at_s), key.nbf + 1)
        changed.append(msgspec.structs.replace(key, exp=end_s))
    return changed


def _shown(key: Jwk) -> dict[str, Any]:
    """Return what may be seen of a key."""
    return {
        "id": key.kid,
        "role": key.role,
        "algorithm": key.algorithm,
        "secret": key.is_secret,
        "from": utc_text(key.nbf) if key.nbf else None,
        "until": utc_text(key.exp) if key.exp else None,
        "fingerprint": key.fingerprint(),
    }


def _row(shown: dict[str, Any]) -> tuple[str, ...]:
    return (
        shown["file"],
        shown["id"],
        shown["role"],
        shown["algorithm"],
        "secret" if shown["secret"] else "public",
        shown["from"] or "always",
        shown["until"] or "for ever",
        shown["fingerprint"],
    )

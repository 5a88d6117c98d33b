"""`convert`: logs that somebody else wrote -> events, a JSON line each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import click
import msgspec

from stream.errors import ConfigError
from stream.events import (
    CloudTrailSpec,
    Fault,
    NginxSpec,
    Request,
    convert_cloudtrail,
    convert_nginx,
    encode_request,
)

from .failure import NOT_SO
from .faults import FaultNotes
from .options import INPUT, OUTPUT, examples, json_option
from .plain import json_text
from .reading import STDIN, read_lines, total_bytes
from .screen import Screen
from .writing import Write, check_apart, line_writer

LINE_BYTES_MAX: Final = {"nginx": 1 << 20, "cloudtrail": 1 << 28}

Converted = Iterator[Request | Fault]
Convert = Callable[[Iterable[bytes]], Converted]


@click.command(
    "convert",
    epilog=examples(
        "enforcer convert --format nginx access.log -o events.jsonl",
        "tail -F access.log | enforcer convert --format nginx | enforcer send -",
        "enforcer convert --format cloudtrail trail/*.json.gz -o events.jsonl",
    ),
)
@click.argument("files", nargs=-1, type=INPUT, metavar="[FILE]...")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["nginx", "cloudtrail"]),
    help="nginx: combined or common access logs, Apache's too. cloudtrail: `Records`.",
)
@click.option(
    "-o", "--out", default=STDIN, type=OUTPUT, help="Where the events go; stdout without it."
)
@click.option("--trust-domain", metavar="NAME", default="", help="Trust domain of the workloads.")
@click.option(
    "--identity",
    type=click.Choice(["address", "user", "user_or_address"]),
    default="address",
    help="nginx: what names a client. `user` only where every location demands authentication.",
)
@click.option(
    "--refused-status",
    type=click.IntRange(400, 599),
    multiple=True,
    help="nginx: a status with which our own gateway refuses.",
)
@json_option
def convert(
    *,
    files: tuple[str, ...],
    form: str,
    out: str,
    trust_domain: str,
    identity: str,
    refused_status: tuple[int, ...],
    is_json: bool,
) -> int:
    """Turn access logs or CloudTrail into events.

    Reads stdin without a FILE; gzip is recognised. What cannot be converted is told on stderr and
    counted by code; the rest goes on. Exit code 1 if nothing could be converted. With `--json`
    the summary on stderr is JSON.
    """
    screen = Screen(is_json=is_json)
    converter = _converter(form, trust_domain, identity, refused_status)
    names = files or (STDIN,)
    check_apart((out,), names)
    faults = FaultNotes(screen)
    events = 0
    with (
        line_writer(out) as write,
        screen.progress("converting", total_bytes(names)) as advance,
    ):
        before = 0
        for name in names:
            report = functools.partial(_report, advance, before)
            lines = read_lines((name,), LINE_BYTES_MAX[form], report)
            events += _write_all(name, converter(each.data for each in lines), write, faults)
            before += total_bytes((name,)) or 0
    if is_json:
        click.echo(json_text({"events": events, "faults": dict(faults.counts)}), err=True)
    else:
        screen.note(f"{events:,} events, {faults.spelled()}")
    return 0 if events else NOT_SO


def _report(advance: Callable[[int], None], before: int, position: int) -> None:
    advance(before + position)


def _write_all(name: str, converted: Converted, write: Write, faults: FaultNotes) -> int:
    """Write the events of one file; return how many. Mutates: faults."""
    events = 0
    for each in converted:
        if isinstance(each, Request):
            write(encode_request(each))
            events += 1
        else:
            record = f" record {each.record}" if each.record else ""
            faults.add(f"{name}:{each.line}{record}", each.code, each.message)
    return events


def _converter(
    form: str, trust_domain: str, identity: str, refused_status: tuple[int, ...]
) -> Convert:
    """Return the converter of a format, its settings checked. Errors: ConfigError."""
    domain = {"trust_domain": trust_domain} if trust_domain else {}
    try:
        if form == "cloudtrail":
            cloudtrail = msgspec.convert({"kind": form, **domain}, CloudTrailSpec)
            # A trust domain is checked at the call: now, before a file is written.
            convert_cloudtrail((), cloudtrail)
            return lambda lines: convert_cloudtrail(lines, cloudtrail)
        settings = {"kind": form, "identity": identity, "refused_status": refused_status, **domain}
        nginx = msgspec.convert(settings, NginxSpec)
        convert_nginx((), nginx)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error
    return lambda lines: convert_nginx(lines, nginx)

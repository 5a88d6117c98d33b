"""`schema`: what travels on the topics, for whoever writes a gateway in another language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stream import __version__
from stream.config import load_config
from stream.errors import ConfigError
from stream.events import TopicNames, asyncapi, json_schemas

from .options import examples, json_option, reaching
from .screen import Screen


@click.command(
    "schema",
    epilog=examples(
        "enforcer schema > asyncapi.json",
        "enforcer schema request",
        "enforcer schema --out schemas/",
    ),
)
@click.argument("message", required=False, type=click.Choice(sorted(json_schemas())))
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False), help="Write files there.")
@reaching
@json_option
def schema(
    *, message: str | None, out: str | None, environment: dict[str, str], is_json: bool
) -> None:
    """Print the schemas of all messages.

    Without a MESSAGE it is one AsyncAPI 3.0 document of all topics, with one it is the JSON Schema
    of that message. With --out both are written, a file for each. `--json` prints on one line.
    """
    topics = load_config("", environment).topics
    names = TopicNames(topics.requests, topics.enforcement, topics.journal, topics.dead_letters)
    schemas, document = json_schemas(), asyncapi(__version__, names)
    screen = Screen(is_json=is_json)
    if out is None:
        shown = schemas[message] if message else document
        screen.emit(shown)
        if not is_json:
            click.echo(json.dumps(shown, indent=2))
        return
    files: dict[str, Any] = {"asyncapi.json": document}
    chosen = [message] if message else list(schemas)
    files |= {f"{name}.schema.json": schemas[name] for name in chosen}
    written = _write(Path(out), files)
    screen.emit({"files": written})
    for file in written:
        screen.line(file)


def _write(folder: Path, files: dict[str, Any]) -> list[str]:
    """Write each value as a JSON file; return the paths. Errors: ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}", hint="name another folder in --out"
        ) from error
    return [str(folder / name) for name in files]

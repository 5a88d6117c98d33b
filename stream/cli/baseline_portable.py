"""`baseline export`, `import`, `list`: a baseline carried to another machine, and what is there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from stream.baselines import (
    BASELINE_BYTES_MAX,
    MAGIC,
    PORTABLE_BYTES_MAX,
    PORTABLE_MAGIC,
    Baseline,
    Portable,
    decode_baseline,
    decode_portable,
    encode_portable,
    manifest_of,
    version_of,
)
from stream.config import load_config
from stream.errors import ConfigError
from stream.events import split_signature
from stream.signing import SignatureFault, SigningSpec, signer_of, trust_of

from .baseline_file import read_bytes, write_bytes
from .logs import utc_text
from .options import WHOLE_INPUT, WHOLE_OUTPUT, configured, examples, json_option
from .replay import replay_key
from .screen import Screen
from .writing import check_apart

# A signature on a manifest counts for nothing else; it may move between installations, which its
# hash key ties together.
PLACE: Final = "baseline"
KEY: Final = b"manifest"
LISTED_MAX: Final = 1_000
_WHY: Final[Mapping[SignatureFault, str]] = {
    "unsigned": "nobody signed it, and only what is signed is believed here",
    "unknown_key": "who signed it is not believed here",
    "wrong_role": "it is signed with a key for another role than operator",
    "early_key": "the key that signed it is not good yet",
    "retired_key": "the key that signed it is retired",
    "forged": "its signature is wrong: it was changed, or signed by somebody else",
}


@click.command(
    "export",
    epilog=examples(
        "enforcer baseline export learned.baseline --out learned.export",
        "ENFORCER_OPERATOR_KEY_FILE=operator.jwk "
        "enforcer baseline export learned.baseline --out learned.export",
    ),
)
@click.argument("file", type=WHOLE_INPUT)
@click.option("--out", type=WHOLE_OUTPUT, required=True, help="Where the exported file goes.")
@configured("config")
@json_option
def export_baseline(*, file: str, out: str, environment: dict[str, str], is_json: bool) -> None:
    """Write a baseline as one file that can be carried and checked elsewhere.

    With an operator's key (ENFORCER_OPERATOR_KEY_FILE) it is signed. It holds keyed hashes, no
    values; the names of classes, purposes and operations are in it.
    """
    check_apart((out,), (file,))
    data = read_bytes(file, BASELINE_BYTES_MAX)
    made = decode_baseline(data, file)
    now_ms = time.time_ns() // 1_000_000
    signer = signer_of(_signing(environment), PLACE, "operator", now_ms // 1_000)
    manifest = manifest_of(data, made.facts.key_id, now_ms)
    if signer is not None:
        manifest = signer.sign(KEY, manifest)
    size = write_bytes(out, encode_portable(data, manifest))
    signed_by = signer.key_id if signer is not None else ""
    screen = Screen(is_json=is_json)
    screen.emit({"file": out, "version": version_of(data), "bytes": size, "signed_by": signed_by})
    by = f", signed with {signed_by}" if signed_by else ", not signed"
    screen.line(f"{out}: baseline {version_of(data)}, {size:,} bytes{by}")


@click.command(
    "import",
    epilog=examples(
        "enforcer baseline import learned.export --out learned.baseline",
        "ENFORCER_TRUST_FILE=trusted.jwks "
        "enforcer baseline import learned.export --out learned.baseline",
    ),
)
@click.argument("file", type=WHOLE_INPUT)
@click.option("--out", type=WHOLE_OUTPUT, required=True, help="Where the baseline goes.")
@configured("config")
@json_option
def import_baseline(*, file: str, out: str, environment: dict[str, str], is_json: bool) -> None:
    """Check an exported baseline and write it for use here.

    Refused is what was changed on its way, what was learned under another hash key than the one
    in use here, what a newer version wrote, and, where keys are configured (ENFORCER_TRUST_FILE),
    what no operator signed. With ENFORCER_SIGNING=warn a wrong signature is only told.
    """
    check_apart((out,), (file,))
    found = decode_portable(read_bytes(file, PORTABLE_BYTES_MAX), file)
    screen = Screen(is_json=is_json)
    signed_by = _believed(found, file, _signing(environment), screen)
    made = decode_baseline(found.data, file)
    key = replay_key(environment)
    if made.facts.key_id != key.id or found.manifest.hash_key != key.id:
        raise ConfigError(
            f"{file}: it was learned under hash key {made.facts.key_id}, and {key.id} is in use:"
            " its hashes say nothing here",
            hint="set ENFORCER_HASH_KEY_FILE to the key that it was learned with",
        )
    write_bytes(out, found.data)
    version = version_of(found.data)
    screen.emit({"file": out, "version": version, "signed_by": signed_by, **_shown(made)})
    screen.line(f"{out}: baseline {version} of {made.facts.tasks:,} tasks")


def _believed(found: Portable, file: str, spec: SigningSpec, screen: Screen) -> str:
    """Return whose signature is on a manifest, empty where none was verified.

    Errors: ConfigError when it must be signed and is not as it must be.
    """
    trust = trust_of(spec, PLACE)
    signed = split_signature(found.signed)
    if trust is None:
        if signed.key_id:
            screen.note(
                f"{file}: signed with {signed.key_id}, which nothing here verifies:"
                " set ENFORCER_TRUST_FILE",
                "yellow",
            )
        return ""
    fault = trust.fault_in("operator", KEY, time.time_ns() // 1_000_000, signed)
    if fault is None:
        return signed.key_id
    text = f"{file}: {_WHY[fault]} ({fault})"
    if trust.is_strict:
        raise ConfigError(text, hint="export it again with an operator's key that is believed here")
    screen.note(text, "yellow")
    return ""


def _signing(environment: Mapping[str, str]) -> SigningSpec:
    """Return the settings of signing, for no installation in particular."""
    return msgspec.structs.replace(load_config("", environment).signing, installation="")


def tell_files(folder: str, screen: Screen) -> None:
    """List the baselines in a folder, also exported ones; what cannot be used says why.

    Errors: ConfigError.
    """
    rows = [row for each in _files_in(folder) if (row := _listed(each))]
    screen.emit(rows)
    shown = [
        (
            each["file"],
            each.get("version", ""),
            each.get("tasks", 0),
            each.get("classes", 0),
            f"{each['from']} to {each['until']}" if "from" in each else "",
            each.get("hash_key", 0),
            (each["fault"], "red") if "fault" in each else each["kind"],
        )
        for each in rows
    ]
    columns = ("file", "version", "tasks", "classes", "learned from", "hash key", "state")
    screen.table("", columns, shown, f"there is no baseline in {folder}")


def _files_in(folder: str) -> list[Path]:
    """Return the files of a folder by name. Errors: ConfigError."""
    try:
        found = sorted(each for each in Path(folder).iterdir() if each.is_file())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}") from error
    if len(found) > LISTED_MAX:
        raise ConfigError(f"{folder} has {len(found):,} files, and at most {LISTED_MAX:,} are read")
    return found


def _listed(file: Path) -> dict[str, Any]:
    """Return what a file holds, empty where it is no baseline at all."""
    found: dict[str, Any] = {"file": file.name, "kind": ""}
    try:
        with file.open("rb") as source:
            magic = source.read(len(MAGIC))
        if magic not in (MAGIC, PORTABLE_MAGIC):
            return {}
        found["kind"] = "exported" if magic == PORTABLE_MAGIC else "baseline"
        data = read_bytes(str(file), PORTABLE_BYTES_MAX)
        if magic == PORTABLE_MAGIC:
            portable = decode_portable(data, file.name)
            data = portable.data
            found["signed_by"] = split_signature(portable.signed).key_id
        made = decode_baseline(data, file.name)
    except OSError as error:
        return {**found, "fault": error.strerror or str(error)}
    except ConfigError as error:
        return {**found, "fault": error.message.removeprefix(f"{file.name}: ")}
    return {**found, "version": version_of(data), **_shown(made)}


def _shown(made: Baseline) -> dict[str, Any]:
    """Return what a baseline says of itself, in few words."""
    facts = made.facts
    return {
        "tasks": facts.tasks,
        "classes": len(made.groups),
        "from": utc_text(facts.from_ms // 1_000)[:16],
        "until": utc_text(facts.until_ms // 1_000)[:16],
        "hash_key": facts.key_id,
    }

"""`freehold schema`: the catalogue of messages, breaking changes, and AsyncAPI. Face; opens no connection."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Final

import click

from freehold.cli.lazy import NamingGroup
from freehold.cli.options import json_option
from freehold.cli.output import answer_json, line, note
from freehold.cli.project import Project
from freehold.errors import ConfigurationError, NotFound
from freehold.schema.asyncapi import asyncapi
from freehold.schema.catalogue import Catalogue, catalogue_of, parse_catalogue, read_catalogue
from freehold.schema.check import BreakingChange, Compatibility, Report, check

__all__ = ["command"]

_CATALOGUE: Final = Path("schemas/events.json")
_STANDARD: Final = Path("-")


@click.group("schema", cls=NamingGroup, help="Write the catalogue of messages, check changes against it, AsyncAPI.")
def command() -> None:
    """Group of the commands on schemas."""


@command.command("write")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=_CATALOGUE)
@json_option
@click.pass_obj
def write(project: Project, file: Path, *, as_json: bool) -> int:
    """Write the catalogue FILE: every message that the project declares, and which versions each service understands.

    Run it at each release: `check` compares the code with this file. Default: schemas/events.json; - is standard
    output.
    """
    code = _declared(project)
    if file == _STANDARD:
        if as_json:
            raise click.UsageError("the catalogue itself is written to standard output: leave --json out")
        click.echo(code.document().decode(), nl=False)
        return 0
    broken = _broken(file, code)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(code.document())
    messages = sum(len(each.messages) for each in code.services.values())
    if broken:
        note(f"{_changes(broken)} since the former file: old and new code may not read each other's messages")
    if as_json:
        answer_json({"file": str(file), "services": sorted(code.services), "messages": messages, "breaking": broken})
    else:
        line(f"{file}: {messages} messages of {len(code.services)} services")
    return 0


@command.command("check")
@click.option(
    "--catalogue",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_CATALOGUE,
    show_default=True,
    help="The last released catalogue; - is standard input.",
)
@click.option(
    "--compatibility",
    type=click.Choice([each.value for each in Compatibility]),
    default=Compatibility.FULL.value,
    show_default=True,
    help="Backward: this code reads what was written. Forward: released code reads what this writes. Full: both.",
)
@json_option
@click.pass_obj
def check_command(project: Project, file: Path, compatibility: str, *, as_json: bool) -> int:
    """Compare the code with the last released catalogue, and fail on a breaking change."""
    asked = Compatibility(compatibility)
    report = check(_released(file), _declared(project), asked)
    if as_json:
        answer_json(
            {
                "catalogue": str(file),
                "compatibility": asked,
                "compared": report.compared,
                "findings": report.findings,
                "notes": report.notes,
            }
        )
    else:
        _print(report, file, asked)
    return 1 if report.findings else 0


@command.command("asyncapi")
@click.argument("service")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it to this file; - is standard output.",
)
@click.option("--version", default="1", show_default=True, help="The version of the service that is described.")
@json_option
@click.pass_obj
def asyncapi_command(project: Project, service: str, output: Path | None, version: str, *, as_json: bool) -> int:
    """Print the AsyncAPI 3.0 document of SERVICE: its topics, and what it sends and receives there."""
    (selected,) = project.select([service], declared=True)
    document = asyncapi(selected, version)
    if output is None or output == _STANDARD:
        answer_json(document)
        return 0
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(_text(document), encoding="utf-8")
    if as_json:
        answer_json({"file": str(output), "service": service})
    else:
        line(f"{output}: AsyncAPI {document['asyncapi']} of {service}")
    return 0


def _released(file: Path) -> Catalogue:
    """The catalogue to compare with. A missing file is wrong input, not a failed check."""
    if file == _STANDARD:
        return parse_catalogue(sys.stdin.buffer.read(), "standard input")
    try:
        return read_catalogue(file)
    except NotFound as error:
        raise ConfigurationError(error.message, hint=error.hint) from error


def _declared(project: Project) -> Catalogue:
    return catalogue_of(project.select((), declared=True))


def _broken(file: Path, code: Catalogue) -> int:
    """The number of breaking changes since the file that is about to be replaced; 0 if that cannot be read."""
    try:
        return len(check(read_catalogue(file), code).findings)
    except (NotFound, ConfigurationError):
        return 0


def _changes(number: int) -> str:
    return f"{number} breaking change{'' if number == 1 else 's'}"


def _print(report: Report, file: Path, asked: Compatibility) -> None:
    for (name, version), findings in groupby(report.findings, key=lambda each: (each.message, each.version)):
        line(f"{name} version {version}", style="bold")
        for finding in findings:
            _print_finding(finding)
        line()
    for text in report.notes:
        note(f"note: {text}")
    if report.findings:
        line(f"{_changes(len(report.findings))} since {file} ({asked} compatibility)")
    else:
        line(f"{report.compared} messages are compatible with {file} ({asked})")


def _print_finding(finding: BreakingChange) -> None:
    where = f"{finding.path}: " if finding.path else ""
    line(f"  {where}{finding.what}")
    line(f"    breaks: {finding.breaks}")
    line(f"    do:     {finding.hint}")


def _text(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

"""`freehold db`: Freehold's own and the services' migrations. Face."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from freehold.cli.context import Opened, Project
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, note, table
from freehold.errors import FreeholdError
from freehold.settings import DEFAULT_DIRECTORY

__all__ = ["command"]


@click.group("db", help="Show and apply schema migrations.")
def command() -> None:
    """Hold the subcommands."""


@command.command(help="Apply the migrations that are missing; safe from several processes at once.")
@service_option
@json_option
@asynchronous
async def upgrade(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Bring each database to the newest schema; one that fails does not keep the others."""
    await asyncio.to_thread(Path(DEFAULT_DIRECTORY).mkdir, parents=True, exist_ok=True)
    return await _each(project, names, apply=True, as_json=as_json)


@command.command(help="List the migrations that are missing; exit code 1 where there are some.")
@service_option
@json_option
@asynchronous
async def status(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Say what `upgrade` would do."""
    return await _each(project, names, apply=False, as_json=as_json)


async def _each(project: Project, names: tuple[str, ...], *, apply: bool, as_json: bool) -> int:
    answers: dict[str, list[str]] = {}
    async with project.open(names, migrated=False) as opened:
        for access in opened.services:
            database = access.stores.database
            try:
                answers[access.name] = await (database.upgrade() if apply else database.pending())
            except FreeholdError as error:
                opened.failed[access.name] = error
                note(f"{access.name}: {error}")
    _answer(answers, opened, apply=apply, as_json=as_json)
    missing = not apply and any(answers.values())
    return opened.code or (1 if missing else 0)


def _answer(answers: dict[str, list[str]], opened: Opened, *, apply: bool, as_json: bool) -> None:
    title = "applied" if apply else "pending"
    if as_json:
        answer_json({title: answers, "failed": opened.as_document()})
        return
    rows = [(name, step) for name, steps in answers.items() for step in steps]
    empty = "every database is up to date" if answers else "nothing could be done"
    table(title.capitalize(), ("service", "migration"), rows, empty=empty)

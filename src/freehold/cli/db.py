"""`freehold db`: Freehold's and the services' own migrations. Face."""

from __future__ import annotations

import click

from freehold.binding import open_stores
from freehold.cli.context import Project, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, table
from freehold.settings import Settings

__all__ = ["command"]


@click.group("db", help="Show and apply schema migrations.")
def command() -> None:
    """Hold the subcommands."""


@command.command(help="Apply the migrations that are missing; safe from several processes at once.")
@service_option
@json_option
@asynchronous
async def upgrade(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Bring each database to the newest schema."""
    applied = dict(await _each(project, names, apply=True))
    if as_json:
        answer_json({"applied": applied})
    else:
        rows = [(name, step) for name, steps in applied.items() for step in steps]
        table("Applied", ("service", "migration"), rows, empty="every database is up to date")
    return 0


@command.command(help="List the migrations that are missing; exit code 1 where there are some.")
@service_option
@json_option
@asynchronous
async def status(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Say what `upgrade` would do."""
    pending = dict(await _each(project, names, apply=False))
    if as_json:
        answer_json({"pending": pending})
    else:
        rows = [(name, step) for name, steps in pending.items() for step in steps]
        table("Pending", ("service", "migration"), rows, empty="every database is up to date")
    return 1 if any(pending.values()) else 0


async def _each(project: Project, names: tuple[str, ...], *, apply: bool) -> list[tuple[str, list[str]]]:
    answers: list[tuple[str, list[str]]] = []
    for service in project.select(names):
        settings = Settings.load(service.name)
        database = open_stores(settings.database, settings.database_options, service.migrations).database
        await database.open()
        try:
            answers.append((service.name, await (database.upgrade() if apply else database.pending())))
        finally:
            await database.close()
    return answers

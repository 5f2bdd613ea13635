"""`freehold projection refresh`: refresh a materialized view now. Face."""

from __future__ import annotations

import click

from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, duration, note
from freehold.cli.project import Project
from freehold.projection.commands.group import command, open_owner
from freehold.projection.view_store import ViewState

__all__ = ["refresh"]


@command.command(help="Refresh a materialized view now, and show how long it took.")
@click.argument("view")
@service_option
@json_option
@asynchronous
async def refresh(project: Project, view: str, names: tuple[str, ...], *, as_json: bool) -> int:
    """Refresh it; readers do not wait."""
    async with open_owner(project, names, view) as actions:
        state = await actions.refresh(view)
    if as_json:
        answer_json({"service": actions.context.service, **_document(state)})
    else:
        how = " (an emulation by a table)" if state.emulated else ""
        note(f"{view}: refreshed in {duration(state.duration_seconds)}{how}")
    return 0


def _document(state: ViewState) -> dict[str, object]:
    return {
        "name": state.name,
        "refreshed_at": state.refreshed_at,
        "duration_seconds": state.duration_seconds,
        "emulated": state.emulated,
    }

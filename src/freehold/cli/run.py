"""`freehold run`: services, or some of their loops, in this process until ctrl-c. Face."""

from __future__ import annotations

import click

from freehold.cli.context import Project, asynchronous, service_option
from freehold.cli.output import note
from freehold.runtime import ROLES, Runtime, run

__all__ = ["command"]


@click.command(
    "run", help="Run services, or some of their loops, until ctrl-c. Any number of processes share the work."
)
@service_option
@click.option("--role", "roles", multiple=True, type=click.Choice(sorted(ROLES)), help="Only these loops.")
@asynchronous
async def command(project: Project, names: tuple[str, ...], roles: tuple[str, ...]) -> int:
    """Run until SIGTERM or SIGINT, then drain."""

    def ready(runtime: Runtime) -> None:
        started = ", ".join(each.service.name for each in runtime)
        note(f"running {started}: {', '.join(roles or sorted(ROLES))}; ctrl-c drains and stops")

    await run(*project.select(names), roles=roles or None, on_ready=ready)
    return 0

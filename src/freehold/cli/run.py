"""`freehold run`: runs services, or some of their loops, in this process until ctrl-c. Face."""

from __future__ import annotations

import logging
import time

import click

from freehold.cli.options import json_option, on_loop, service_option
from freehold.cli.output import answer_json, duration, note
from freehold.cli.project import Project
from freehold.runtime import ROLES, Runtime, new_event_loop, run

__all__ = ["command"]


@click.command(
    "run", help="Run services, or some of their loops, until ctrl-c. Any number of processes share the work."
)
@service_option
@click.option("--role", "roles", multiple=True, type=click.Choice(sorted(ROLES)), help="Only these loops.")
@json_option
@on_loop(new_event_loop)
async def command(project: Project, names: tuple[str, ...], roles: tuple[str, ...], *, as_json: bool) -> int:
    """Run until SIGTERM or SIGINT, then drain. The JSON document is written once all have started."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    started: list[str] = []

    def ready(runtime: Runtime) -> None:
        started.extend(each.service.name for each in runtime)
        chosen = [role for role in ROLES if not roles or role in roles]
        for each in runtime:
            if each.link.problem is not None:
                note(f"{each.service.name} waits for its broker: {each.link.problem}")
        note(f"running {', '.join(started)}: {', '.join(chosen)}; ctrl-c drains and stops")
        if as_json:
            answer_json({"running": started, "roles": chosen})

    began = time.monotonic()
    await run(*project.select(names), roles=roles or None, on_ready=ready)
    note(f"stopped {', '.join(started)} after {duration(time.monotonic() - began)}")
    return 0

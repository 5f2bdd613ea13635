"""What commands share: options, asking before something is destroyed, running an async command. Face: imports click.

It imports nothing of the runtime, so that help is shown at once.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from freehold.cli.context import Project

__all__ = ["acting", "actor", "asynchronous", "destroying", "json_option", "limit_option", "service_option"]

_THREAD_SECONDS = 1.0
P = ParamSpec("P")
R = TypeVar("R")


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`: one document on standard output, all else on standard error."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(command)


def service_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--service`: only these; without it, all that are known."""
    help_text = "Only this service; may be repeated."
    return click.option("--service", "-s", "names", multiple=True, metavar="NAME", help=help_text)(command)


def limit_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--limit`: how many at most."""
    return click.option(
        "--limit", default=default, show_default=True, type=click.IntRange(1, 10_000), help="No more than so many."
    )


def acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """What changes something takes a reason, which is recorded."""
    return click.option("--reason", required=True, callback=_given, help="Why; recorded in the audit table.")(command)


def destroying(question: Callable[[Mapping[str, Any]], str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What cannot be undone asks, or takes `--yes`; where nobody can be asked, it is refused as wrong usage.

    Goes outside `asynchronous`: while a loop runs, ctrl-c would not end the question.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def ask(*, yes: bool, **parameters: Any) -> Any:
            if not yes:
                if parameters.get("as_json") or not sys.stdin.isatty():
                    raise click.UsageError("this cannot be undone and nobody can be asked here: say --yes")
                if not click.confirm(question(parameters), err=True):
                    click.echo("nothing was done", err=True)
                    return 1
            return command(**parameters)

        return click.option("--yes", is_flag=True, help="Do not ask.")(ask)

    return decorate


def actor() -> str:
    """Who acts, for the audit table."""
    if os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def asynchronous(
    function: Callable[Concatenate[Project, P], Coroutine[Any, Any, R]],
) -> Callable[P, R]:
    """Run an async command to its end; its first argument is the project."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        project = click.get_current_context().find_object(Project)
        if project is None:
            raise click.UsageError("the command runs outside the command line")
        return asyncio.run(_to_its_end(function(project, *args, **kwargs)))

    return run


async def _to_its_end(work: Coroutine[Any, Any, R]) -> R:
    """Keep the loop until the threads of drivers have ended: one whose connection failed reports to it once more, and
    would print a traceback if it were gone.
    """
    before = set(threading.enumerate())
    try:
        return await work
    finally:
        made = [each for each in threading.enumerate() if each not in before and not each.name.startswith("asyncio_")]
        await asyncio.gather(*(asyncio.to_thread(each.join, _THREAD_SECONDS) for each in made))


def _given(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why, in a few words")
    return value.strip()

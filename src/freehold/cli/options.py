"""Options that commands share, with the types of their values, confirmation, and async commands. Face: imports click.

It imports nothing of the runtime, so that help is shown at once. Numbers of options must not be `nan`, which passes
every range check of click, nor `inf`, with which a wait never ends.
"""

from __future__ import annotations

import asyncio
import getpass
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click

from freehold.cli.project import Project

__all__ = [
    "COUNT",
    "POSITION",
    "SECONDS_MAX",
    "SINCE",
    "FiniteRange",
    "Since",
    "StoredRange",
    "actor",
    "asynchronous",
    "confirm_option",
    "json_option",
    "limit_option",
    "on_loop",
    "reason_option",
    "seconds",
    "service_option",
]

_THREAD_SECONDS: Final = 1.0
SECONDS_MAX: Final = 10 * 366 * 86400.0
"""Ten years: more is a typing error."""
_INTEGER_MAX: Final = 2**63 - 1
_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d)")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
P = ParamSpec("P")
R = TypeVar("R")


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`: one document on standard output, everything else on standard error."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(command)


def service_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--service`: only these services; by default all that are known."""
    help_text = "Only this service; may be repeated."
    return click.option("--service", "-s", "names", multiple=True, metavar="NAME", help=help_text)(command)


def limit_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--limit`: how many rows at most."""
    return click.option(
        "--limit", default=default, show_default=True, type=click.IntRange(1, 10_000), help="Show at most this many."
    )


def reason_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--reason`: required by commands that change something; it is recorded in the audit table."""
    return click.option("--reason", required=True, callback=_given, help="Why; recorded in the audit table.")(command)


def confirm_option(question: Callable[[Mapping[str, Any]], str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Ask before a command that cannot be undone, unless `--yes`; without a terminal it is refused as wrong usage.

    Apply it outside of `asynchronous`: while an event loop runs, ctrl-c would not end the question.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def ask(*, yes: bool, **parameters: Any) -> Any:
            if not yes:
                if parameters.get("as_json") or not sys.stdin.isatty():
                    raise click.UsageError("this cannot be undone, and there is no terminal to ask: use --yes")
                if not click.confirm(question(parameters), err=True):
                    click.echo("nothing was done", err=True)
                    return 1
            return command(**parameters)

        return click.option("--yes", is_flag=True, help="Do not ask.")(ask)

    return decorate


def actor() -> str:
    """The operator's name, for the audit table."""
    if os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def asynchronous(
    function: Callable[Concatenate[Project, P], Coroutine[Any, Any, R]],
) -> Callable[P, R]:
    """Make a command of an async function, whose first argument is the project."""
    return on_loop(None)(function)


def on_loop(
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> Callable[[Callable[Concatenate[Project, P], Coroutine[Any, Any, R]]], Callable[P, R]]:
    """As `asynchronous`, on an event loop that `factory` makes; None for asyncio's."""

    def decorate(function: Callable[Concatenate[Project, P], Coroutine[Any, Any, R]]) -> Callable[P, R]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            project = click.get_current_context().find_object(Project)
            if project is None:
                raise click.UsageError("the command runs outside the command line")
            with asyncio.Runner(loop_factory=factory) as runner:
                return runner.run(_to_its_end(function(project, *args, **kwargs)))

        return run

    return decorate


class FiniteRange(click.FloatRange):
    """A range of numbers. Not a number, infinity and more seconds than ten years are refused as well."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails as wrong usage."""
        number = float(click.FLOAT.convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        if number > SECONDS_MAX:
            self.fail(f"{number:g} is more than {SECONDS_MAX}.", param, ctx)
        return float(super().convert(number, param, ctx))


class StoredRange(click.IntRange):
    """A range of integers that a database's column can hold."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Fails as wrong usage."""
        number = int(click.INT.convert(value, param, ctx))
        if number > _INTEGER_MAX:
            self.fail(f"it is more than {_INTEGER_MAX}.", param, ctx)
        return int(super().convert(number, param, ctx))


def seconds(least: float = 0, *, above: bool = False) -> FiniteRange:
    """A time span of at least `least` seconds; with `above`, of more."""
    return FiniteRange(min=least, min_open=above)


COUNT: Final = StoredRange(min=1)
"""A count, or a number that is counted from 1."""
POSITION: Final = StoredRange(min=0)
"""A position in a log."""


class Since(click.ParamType[datetime]):
    """`90s`, `30m`, `2h`, `3d`, or a timestamp such as `2030-01-31T12:00:00Z`; without a time zone it is UTC."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time, in UTC. Fails as wrong usage, also for a time in the future."""
        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC)
        text = str(value).strip()
        span = _SPAN.fullmatch(text)
        if span is not None:
            seconds = float(span[1]) * _UNIT_SECONDS[span[2]]
            if seconds > SECONDS_MAX:
                self.fail(f"{value!r} is more than ten years.", param, ctx)
            return now - timedelta(seconds=seconds)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{value!r} is neither a time span such as 2h nor a timestamp.", param, ctx)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        if found > now:
            self.fail(f"{value!r} is in the future.", param, ctx)
        return found


SINCE: Final = Since()
"""The type of `--since`."""


_POOLS: Final = ("asyncio_", "uvloop_")
"""The names of the threads of an event loop's own pool, asyncio's and uvloop's: they end with the loop."""


async def _to_its_end(work: Coroutine[Any, Any, R]) -> R:
    """Keep the event loop until the threads of drivers have ended: a thread whose connection failed calls the loop once
    more, and would print a traceback if the loop were closed.
    """
    before = set(threading.enumerate())
    try:
        return await work
    finally:
        made = [each for each in threading.enumerate() if each not in before and not each.name.startswith(_POOLS)]
        await asyncio.gather(*(asyncio.to_thread(each.join, _THREAD_SECONDS) for each in made))


def _given(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("give a reason, in a few words")
    return value.strip()

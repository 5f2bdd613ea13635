"""The command `freehold` and its subcommands. Face: imports click; each command is imported when it is called.

Exit codes: 0 done, 1 a check failed or an action was refused, 2 wrong usage or input, 3 something cannot be reached.
Standard output holds the answer and nothing else (with `--json`, one document); all else goes to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

import click

from freehold.cli.context import Project
from freehold.cli.lazy import Lazy, LazyGroup
from freehold.errors import (
    CodecError,
    ConfigurationError,
    DeclarationError,
    FreeholdError,
    NotFound,
    Unavailable,
)

__all__ = ["cli", "main"]

_HELP: Mapping[str, str] = {
    "describe": "Show services, messages, handlers, subscriptions and sagas.",
    "doctor": "Check settings, connections and what the guarantees need of servers.",
    "run": "Run services, or some of their loops, until ctrl-c.",
    "ps": "Show who relays, and what waits: unsent, unread, deferred, dead, stuck.",
    "db": "Show and apply schema migrations.",
    "outbox": "Show what waits to be published.",
    "dlq": "List, show, edit, replay and drop dead letters.",
    "saga": "List and show sagas, and decide for those that wait for a person.",
    "monitor": "Show how far consumers and copies are behind, in messages and in seconds.",
    "reconcile": "Compare copies with their sources, and repair what has drifted.",
    "projection": "Show, rebuild and repair read models; replay history; refresh views.",
    "snapshots": "Show the snapshots of aggregates by kind, and discard those of a kind.",
    "schedule": "List and cancel scheduled messages.",
    "schema": "Write the catalogue of messages, check changes against it, AsyncAPI.",
    "audit": "Show who did what by command, and why.",
}
_COMMANDS: Mapping[str, Lazy] = {name: Lazy(f"freehold.cli.{name}", "command", text) for name, text in _HELP.items()}


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--app",
    "apps",
    multiple=True,
    envvar="FREEHOLD_APP",
    metavar="MODULE",
    help="Module that declares services; may be repeated. Default: [project] modules in freehold.toml.",
)
@click.version_option(package_name="freehold", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, apps: tuple[str, ...]) -> None:
    """Your services own their data; this shows and repairs what is between them."""
    ctx.obj = Project(apps)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_exit_code(given))


def _exit_code(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        result = cli.main(args=arguments, prog_name="freehold", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        if as_json:
            _answer("usage", error.format_message(), "")
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except FreeholdError as error:
        _complain(type(error).__name__, error.message, error.hint, as_json=as_json)
        return _code_of(error)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        _complain(type(error).__name__, f"{error.strerror or type(error).__name__}{place}", "", as_json=as_json)
        return 3 if isinstance(error, (ConnectionError, TimeoutError)) else 2
    return result if isinstance(result, int) else 0


def _complain(kind: str, message: str, hint: str, *, as_json: bool) -> None:
    """Say what is wrong and what to do about it; for programs in a document of its own."""
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint:  {hint}", err=True)
    if as_json:
        _answer(kind, message, hint)


def _answer(kind: str, message: str, hint: str) -> None:
    click.echo(json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}, indent=2))


def _code_of(error: FreeholdError) -> int:
    match error:
        case ConfigurationError() | DeclarationError() | NotFound() | CodecError():
            return 2
        case Unavailable():
            return 3
        case _:
            return 1


if __name__ == "__main__":
    main()

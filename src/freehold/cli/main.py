"""The command `freehold` and its subcommands. Face: imports click; each command is imported when it is called.

Exit codes are those of `freehold.cli.entry`. Standard output contains the answer only (with `--json`, one document);
everything else goes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from freehold.cli.entry import run_command_line
from freehold.cli.lazy import Lazy, LazyGroup
from freehold.cli.project import Project
from freehold.errors import FreeholdError

__all__ = ["cli", "main"]

_HELP: Mapping[str, str] = {
    "describe": "Show services, messages, handlers, subscriptions and sagas.",
    "doctor": "Check settings, connections and what the guarantees need of servers.",
    "run": "Run services, or some of their loops, until ctrl-c.",
    "ps": "Show relays and what waits: outbox, lag, deferred, dead letters, sagas.",
    "metrics": "Print the metrics of the services' databases, as Prometheus reads them.",
    "db": "Show and apply schema migrations.",
    "broker": "Give each service an account of its own on NATS.",
    "outbox": "Show messages that wait to be published; send again what a broker has lost.",
    "trace": "Show where a message is, by its id, key or correlation id, and what it waits for.",
    "dlq": "List, show, edit, replay and discard dead letters.",
    "saga": "List and show sagas, and decide about those that wait for an operator.",
    "monitor": "Show the lag of consumers and replicas, in messages and in seconds.",
    "reconcile": "Compare replicas with their sources, and repair drift.",
    "projection": "Show, rebuild and repair read models; replay history; refresh views.",
    "snapshots": "Show the snapshots of aggregates by kind, and discard those of a kind.",
    "schedule": "List and cancel scheduled messages.",
    "schema": "Write the catalogue of messages, check changes against it, AsyncAPI.",
    "audit": "List the actions of operators, with actor and reason.",
}
_PATTERNS: Mapping[str, str] = {
    "outbox": "outbox",
    "dlq": "deadletters",
    "saga": "saga",
    "monitor": "reconcile",
    "reconcile": "reconcile",
    "projection": "projection",
    "snapshots": "aggregate",
    "schedule": "schedule",
    "audit": "audit",
}
"""The commands of the built-in patterns, and the package of each. `pattern.py` declares the same; to import it takes
longer."""
_SECOND: Mapping[str, str] = {"monitor": "monitor"}
"""Commands whose object is not called `command` in its package."""


def _lazy(name: str, text: str) -> Lazy:
    module = f"freehold.{_PATTERNS[name]}.commands" if name in _PATTERNS else f"freehold.cli.{name}"
    return Lazy(module, _SECOND.get(name, "command"), text)


_COMMANDS: Mapping[str, Lazy] = {name: _lazy(name, text) for name, text in _HELP.items()}


class _Commands(LazyGroup):
    """The built-in commands, then those of the project's own patterns."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands; those of a project that cannot be imported are left out."""
        return [*super().list_commands(ctx), *(name for name in _of_patterns(ctx) if name not in _COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None for an unknown name."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in (own := _of_patterns(ctx)):
            found = self.imported(own[cmd_name])
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        super().format_commands(ctx, formatter)
        own = _of_patterns(ctx)
        if own:
            with formatter.section("Commands of the project"):
                formatter.write_dl([(name, each.help) for name, each in own.items()])


def _of_patterns(ctx: click.Context) -> Mapping[str, Lazy]:
    """The commands of the project's own patterns; none if `--app` and the settings name no module. A module that cannot
    be imported is reported by a command that needs it, not here.
    """
    project = ctx.obj if isinstance(ctx.obj, Project) else Project(ctx.params.get("apps") or ())
    try:
        services = project.services.values()
    except FreeholdError:
        return {}
    found = {}
    for pattern in (pattern for service in services for pattern in service.patterns):
        for name, place in pattern.commands.items():
            module, _, attribute = place.partition(":")
            found[name] = Lazy(module, attribute, pattern.summary)
    return found


@click.group(cls=_Commands, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--app",
    "apps",
    multiple=True,
    envvar="FREEHOLD_APP",
    metavar="MODULE",
    help="Module that declares services; may be repeated. Default: modules of [project] in freehold.toml.",
)
@click.version_option(package_name="freehold", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, apps: tuple[str, ...]) -> None:
    """Operate services that own their data: inspect and repair messages, read models, sagas and replicas."""
    ctx.obj = Project(apps)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_command_line(cli, "freehold", arguments))


if __name__ == "__main__":
    main()

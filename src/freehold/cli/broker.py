"""`freehold broker`: makes accounts for services on a broker, and the streams that such services may not make
themselves. Face.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from freehold.broker import OPERATOR, Provisioning
from freehold.cli.lazy import NamingGroup
from freehold.cli.options import asynchronous, json_option
from freehold.cli.output import answer_json, line
from freehold.cli.project import Project
from freehold.errors import ConfigurationError
from freehold.passwords import keep_passwords, write_private
from freehold.settings import DEFAULT_DIRECTORY, Settings

if TYPE_CHECKING:
    from freehold.broker import BrokerOptions

__all__ = ["command"]

_DIRECTORY: Final = Path(DEFAULT_DIRECTORY) / "broker"
_SCHEME: Final = "nats"
_PLACE: Final = "127.0.0.1:4222"
_directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=_DIRECTORY,
    show_default=True,
    help="Directory for passwords and configuration.",
)
_server = click.option(
    "--server",
    metavar="HOST:PORT",
    help=f"The server, or several separated by commas. Default: that of the setting broker, or {_PLACE}.",
)


@click.group("broker", cls=NamingGroup, help="Give each service an account of its own on NATS.")
def command() -> None:
    """Hold the subcommands."""


@command.command()
@_directory
@_server
@json_option
@click.pass_obj
def accounts(project: Project, directory: Path, server: str | None, *, as_json: bool) -> int:
    """Write NATS's configuration of accounts, from the declarations of the project's services.

    accounts.conf is for nats-server (include it, then nats-server --signal reload), services.env has the setting broker
    of each service, passwords.json has the passwords. Only their owner can read the three files, and no password is
    printed. Run it again after a service was added or its messages changed: the passwords stay the same.
    """
    from freehold.runtime.adapters import broker_accounts
    from freehold.schema.rights import broker_rights

    system = _System(project, directory, server)
    options = system.options
    rights = broker_rights([project.services[name] for name in system.names])
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    passwords = keep_passwords(system.passwords, [OPERATOR, *system.names])
    quoted = {name: json.dumps(password) for name, password in passwords.items()}
    configuration, environment = directory / "accounts.conf", directory / "services.env"
    write_private(configuration, broker_accounts(_SCHEME, rights, options, quoted))
    settings = [f"{_variable(name)}={system.url(name, passwords)}\n" for name in system.names]
    write_private(environment, "".join(settings))
    files = {"configuration": configuration, "environment": environment, "passwords": system.passwords}
    if as_json:
        answer_json({"services": system.names, **{name: str(path) for name, path in files.items()}})
        return 0
    line(f"{configuration}: accounts of {', '.join(system.names)}, and of {OPERATOR}")
    line(f"{environment}: the setting broker of each service; give a service its own line only")
    line(f"{system.passwords}: the passwords, kept for the next run")
    line(f"next: include {configuration.name} in nats-server's configuration, reload it, run freehold broker streams")
    return 0


@command.command()
@_directory
@_server
@json_option
@asynchronous
async def streams(project: Project, directory: Path, server: str | None, *, as_json: bool) -> int:
    """Make missing streams, as the operator: services with accounts of their own may not make streams.

    Run it before the first service starts, after a service was added, and after the server lost its store.
    """
    from freehold.runtime.adapters import open_broker

    system = _System(project, directory, server)
    if not system.passwords.exists():
        raise ConfigurationError(f"{system.passwords} does not exist", hint="freehold broker accounts")
    passwords = keep_passwords(system.passwords, ())
    broker = open_broker(system.url(OPERATOR, passwords), system.options)
    try:
        await broker.open()
        if isinstance(broker, Provisioning):
            await broker.provision(system.names)
    finally:
        await broker.close()
    if as_json:
        answer_json({"services": system.names})
    else:
        line(f"the streams of {', '.join(system.names)} exist")
    return 0


@dataclass
class _System:
    """The project's services, and their server."""

    project: Project
    directory: Path
    server: str | None

    @property
    def passwords(self) -> Path:
        """The file with the passwords."""
        return self.directory / "passwords.json"

    @cached_property
    def names(self) -> list[str]:
        """All declared services: the rights of one depend on the others."""
        return [service.name for service in self.project.select((), declared=True)]

    @cached_property
    def settings(self) -> list[Settings]:
        """The settings of each service."""
        return [Settings.load(name) for name in self.names]

    @property
    def options(self) -> BrokerOptions:
        """The options of all services: prefix and partitions are parts of subjects, so they must be the same."""
        for word in ("prefix", "partitions"):
            _one(f"broker_options.{word}", (getattr(each.broker_options, word) for each in self.settings))
        return self.settings[0].broker_options

    def url(self, user: str, passwords: Any) -> str:
        """The URL by which a user connects."""
        if user not in passwords:
            raise ConfigurationError(f"{self.passwords} has no password of {user}", hint="freehold broker accounts")
        return ",".join(f"{_SCHEME}://{user}:{passwords[user]}@{place}" for place in self._places.split(","))

    @cached_property
    def _places(self) -> str:
        if self.server:
            return self.server
        found = [each.broker for each in self.settings if urlsplit(each.broker).scheme == _SCHEME]
        urls = (url.split(",") for url in found)
        places = [",".join(each.rpartition("//")[2].rpartition("@")[2] for each in several) for several in urls]
        return _one("the server in broker", places) if places else _PLACE


def _one(what: str, values: Iterable[Any]) -> Any:
    found = sorted({str(each) for each in values})
    if len(found) > 1:
        raise ConfigurationError(
            f"{what} differs between services: {', '.join(found)}", hint="services that exchange messages share it"
        )
    return found[0]


def _variable(name: str) -> str:
    return f"FREEHOLD_{name.upper().replace('-', '_')}_BROKER"

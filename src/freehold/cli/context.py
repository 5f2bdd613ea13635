"""What every command needs: the project's services, their settings and open stores. Face: imports the runtime, lazily.

Services are found in the modules named by `--app`, `FREEHOLD_APP` (separated by blanks) or `[project] modules` of
`freehold.toml`: every module-level `Service`, and those in a module-level mapping or sequence. A command can name a
service that no module declares; it then works on its database alone, without handlers and sagas.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from freehold.binding import Stores
    from freehold.service import Service
    from freehold.settings import Settings

__all__ = ["Project", "ServiceAccess", "acting", "actor", "asynchronous", "json_option", "service_option"]

P = ParamSpec("P")
R = TypeVar("R")

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
service_option = click.option(
    "--service", "-s", "names", multiple=True, metavar="NAME", help="Only this service; may be repeated."
)


def acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of what changes something: a reason, which is recorded, and `--yes` for what cannot be undone."""
    return click.option("--reason", required=True, help="Why; recorded in the audit table.")(command)


def actor() -> str:
    """Who acts, for the audit table."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def asynchronous(
    function: Callable[Concatenate[Project, P], Coroutine[Any, Any, R]],
) -> Callable[P, R]:
    """Run an async command to its end; its first argument is the project."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        project = click.get_current_context().find_object(Project)
        if project is None:
            raise click.UsageError("the command runs outside the command line")
        return asyncio.run(function(project, *args, **kwargs))

    return run


@dataclass(frozen=True, slots=True)
class ServiceAccess:
    """A service with its settings and its open stores. `service` has no handlers where no module declares it."""

    service: Service
    settings: Settings
    stores: Stores

    @property
    def name(self) -> str:
        """Its name."""
        return self.service.name


class Project:
    """The services that a command works on."""

    def __init__(self, apps: Iterable[str]) -> None:
        self._apps = [name for each in apps for name in each.replace(",", " ").split()]

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """Declared services by name. Raises `ConfigurationError` for a module that cannot be imported."""
        from freehold.errors import ConfigurationError

        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        found: dict[str, Service] = {}
        for name in self._apps or _modules_in_file():
            try:
                module = importlib.import_module(name)
            except ImportError as error:
                raise ConfigurationError(
                    f"module '{name}' cannot be imported ({type(error).__name__})",
                    hint="--app takes a module as in `import`, found from the working directory",
                ) from error
            found.update((service.name, service) for service in _services_of(module))
        return found

    def select(self, names: Iterable[str]) -> list[Service]:
        """The services named, or all declared ones. Raises `ConfigurationError` where there is none."""
        from freehold.errors import ConfigurationError
        from freehold.service import Service

        wanted = list(names)
        if wanted:
            return [self.services.get(name) or Service(name) for name in wanted]
        if not self.services:
            raise ConfigurationError(
                "no service is known", hint="name one with --service, or the module that declares them with --app"
            )
        return [self.services[name] for name in sorted(self.services)]

    @asynccontextmanager
    async def open(self, names: Iterable[str]) -> AsyncIterator[list[ServiceAccess]]:
        """Open the databases of the services selected, and nothing else: no broker, no loops, no migrations."""
        from freehold.binding import open_stores
        from freehold.errors import ConfigurationError
        from freehold.settings import Settings

        opened: list[ServiceAccess] = []
        try:
            for service in self.select(names):
                settings = Settings.load(service.name)
                stores = open_stores(settings.database, settings.database_options, service.migrations)
                await stores.database.open()
                opened.append(ServiceAccess(service, settings, stores))
                pending = await stores.database.pending()
                if pending:
                    raise ConfigurationError(
                        f"the database of '{service.name}' lacks {len(pending)} migrations", hint="freehold db upgrade"
                    )
            yield opened
        finally:
            for access in opened:
                await access.stores.database.close()


def _modules_in_file() -> list[str]:
    from freehold.settings import project_modules

    return project_modules()


def _services_of(module: object) -> Iterator[Service]:
    from freehold.service import Service

    for value in vars(module).values():
        candidates: Iterable[object] = (value,)
        if isinstance(value, Mapping):
            candidates = value.values()
        elif isinstance(value, (list, tuple)):
            candidates = value
        for each in candidates:
            found = each if isinstance(each, Service) else getattr(each, "service", None)
            if isinstance(found, Service):
                yield found

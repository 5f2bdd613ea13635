"""The project that a command works on: its services. Face: imports lazily.

Services are found in the modules named by `--app`, `FREEHOLD_APP` (separated by blanks) or `modules` of `[project]` in
`freehold.toml`: every module-level `Service`, those in a module-level mapping or sequence, and those in the attribute
`service` of such a value. A command can also name a service that only the settings know; it then works on its database
only, without handlers and sagas.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING

from freehold.cli.services import OpenedServices, open_service
from freehold.errors import ConfigurationError, FreeholdError, joined

if TYPE_CHECKING:
    from freehold.service import Service

__all__ = ["Project"]


class Project:
    """The services that a command works on."""

    def __init__(self, apps: Iterable[str]) -> None:
        self._apps = [name for each in apps for name in each.replace(",", " ").split()]

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """Declared services by name. Raises `ConfigurationError` for a module that cannot be imported."""
        from freehold.settings import project_modules

        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        found: dict[str, Service] = {}
        for name in self._apps or project_modules():
            found.update((service.name, service) for service in _services_of(_imported(name)))
        return found

    def select(self, names: Iterable[str], *, declared: bool = False) -> list[Service]:
        """The services with these names, or all known ones. Raises `ConfigurationError` if there is none.

        With `declared`, only services that a module declares are known.
        """
        from freehold.service import Service
        from freehold.settings import configured_services

        known = set(self.services) | (set() if declared else configured_services())
        wanted = sorted(set(names)) or sorted(self.services or known)
        for name in wanted:
            if name not in known:
                raise ConfigurationError(f"no service '{name}' is known", hint=_hint(known, name, declared=declared))
        if not wanted:
            raise ConfigurationError("no service is known", hint=_hint(known, declared=declared))
        return [self.services.get(name) or Service(name) for name in wanted]

    @asynccontextmanager
    async def open(
        self, names: Iterable[str], *, migrated: bool = True, owned: bool = True
    ) -> AsyncIterator[OpenedServices]:
        """Open the databases of the selected services, and nothing else: no broker, no loops, no migrations.

        Those that cannot be opened are written to standard error and are in `OpenedServices.failed`. If none can be
        opened, their errors are raised as one. With `owned`, a database that another service owns is such a failure;
        with `migrated`, one that lacks migrations.
        """
        import asyncio

        from freehold.cli.output import note
        from freehold.variables import unread_names

        services = self.select(names)
        for unread in unread_names(self.services or [service.name for service in services]):
            note(unread.message)
        opened = OpenedServices()
        try:
            opening = (open_service(service, opened, migrated=migrated, owned=owned) for service in services)
            outcomes = await asyncio.gather(*opening)
            for service, error in zip(services, outcomes, strict=True):
                if error is not None:
                    opened.failed[service.name] = error
            if len(opened.failed) == len(services):
                raise joined(error.of_service(name) for name, error in opened.failed.items())
            for name, error in opened.failed.items():
                note(f"{name} is left out: {error}")
            opened.services.sort(key=lambda access: access.name)
            yield opened
        except FreeholdError as error:
            if len(services) == 1:
                error.of_service(services[0].name)
            raise
        finally:
            for access in opened.services:
                await access.context.close()
                await access.stores.database.close()


def _imported(name: str) -> object:
    """Import a module of the user's. An error is shown by class and place only: its text may contain values."""
    try:
        return importlib.import_module(name)
    except FreeholdError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"module '{name}' does not exist",
                hint="--app takes a module name as in `import`, searched from the working directory",
            ) from error
        raise _broken(name, error, f": module '{error.name}' does not exist") from error
    except Exception as error:
        raise _broken(name, error, "") from error


def _broken(name: str, error: Exception, detail: str) -> ConfigurationError:
    frames = extract_tb(error.__traceback__)
    place = f", in {frames[-1].filename} line {frames[-1].lineno}" if frames else ""
    if isinstance(error, SyntaxError):
        place = f", in {error.filename} line {error.lineno}"
    return ConfigurationError(
        f"module '{name}' cannot be imported: {type(error).__name__}{detail}{place}",
        hint=f'see the whole error with: python -c "import {name}"',
    )


def _hint(known: set[str], name: str = "", *, declared: bool) -> str:
    from freehold.fields import nearest
    from freehold.settings import settings_file

    if known:
        near = nearest(name, known)
        return f"{f'did you mean {near}? ' if near else ''}known: {', '.join(sorted(known))}"
    path = settings_file()
    read = f"{path.absolute()} was read" if path.exists() else f"the settings file {path.absolute()} does not exist"
    configured = "" if declared else ", or give it a [services.<name>] table in the settings file"
    return f"{read}; name the module that declares it with --app{configured}"


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

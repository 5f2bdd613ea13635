"""What every command works on: the project's services, their settings and open stores. Face: imports lazily.

Services are found in the modules named by `--app`, `FREEHOLD_APP` (separated by blanks) or `[project] modules` of
`freehold.toml`: every module-level `Service`, those in a module-level mapping or sequence, and those in the `service`
of such a value. A command can also name a service that no module declares but the settings do; it then works on its
database alone, without handlers and sagas.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Final, TypeVar

from freehold.errors import ConcurrencyConflict, ConfigurationError, DatabaseError, FreeholdError, joined

if TYPE_CHECKING:
    from freehold.context import ServiceContext
    from freehold.ports import Stores
    from freehold.service import Service
    from freehold.settings import Settings

__all__ = ["PROBE_SECONDS", "Opened", "Project", "ServiceAccess", "explained", "named"]

T = TypeVar("T")
PROBE_SECONDS: Final = 5.0
"""How long a write that shows whether work gets on is waited for."""


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

    @property
    def context(self) -> ServiceContext:
        """What its patterns work with: a new one, without a broker."""
        from freehold.context import ServiceContext
        from freehold.failures import FailureLog

        failures = FailureLog(tracebacks=self.settings.log_tracebacks)
        declared = self.service.of
        return ServiceContext(self.name, self.stores, settings=self.settings, failures=failures, declared=declared)


@dataclass(slots=True)
class Opened:
    """The services that could be opened, and why others could not, by name."""

    services: list[ServiceAccess] = field(default_factory=list)
    failed: dict[str, FreeholdError] = field(default_factory=dict)

    async def each(self, work: Callable[[ServiceAccess], Awaitable[T]]) -> list[tuple[ServiceAccess, T]]:
        """What `work` gives for each service, all at once. One with which it fails is told on standard error, stands in
        `failed`, and keeps no other; it is left out of what comes after.
        """
        import asyncio

        asked = [access for access in self.services if access.name not in self.failed]
        outcomes = await asyncio.gather(*(_attempt(access, work) for access in asked))
        given: list[tuple[ServiceAccess, T]] = []
        for access, (outcome, error) in zip(asked, outcomes, strict=True):
            if error is not None:
                self.fail(access.name, error)
            else:
                given += [(access, each) for each in outcome]
        return given

    async def written(self) -> None:
        """See that each database takes a write; one that does not is told as in `each`: what was read of it stays."""
        await self.each(lambda access: access.stores.database.probe(PROBE_SECONDS))

    @asynccontextmanager
    async def sparing(
        self, access: ServiceAccess, *others: ServiceAccess, what: str = "", but: tuple[type[FreeholdError], ...] = ()
    ) -> AsyncIterator[None]:
        """What fails in here with one service is told on standard error, stands in `failed` by its name, or as `what`,
        and keeps no other; but for errors that end the command. `others` are services whose databases are used too.
        """
        try:
            yield
        except but:
            raise
        except FreeholdError as error:
            self.fail(what or access.name, await explained(error, access, *others))

    def fail(self, name: str, error: FreeholdError) -> None:
        """Have it known that something could not be done."""
        from freehold.cli.output import note

        self.failed[name] = error
        note(f"{name}: {error}")

    @property
    def code(self) -> int:
        """Exit code of a command that did what it could: that of what failed, as it would be for these services alone.

        What does not pass by itself decides: 2 for settings, 1 for other failures; else 3, a service was not reached.
        """
        from freehold.cli.entry import code_of

        return code_of(joined(self.failed.values())) if self.failed else 0

    def as_document(self) -> dict[str, dict[str, str]]:
        """What failed, for JSON: empty where all is well."""
        return {
            name: {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
            for name, error in self.failed.items()
        }


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
        """The services named, or all that are known. Raises `ConfigurationError` where there is none.

        With `declared`, only services that a module declares count.
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
    async def open(self, names: Iterable[str], *, migrated: bool = True, owned: bool = True) -> AsyncIterator[Opened]:
        """Open the databases of the services selected, and nothing else: no broker, no loops, no migrations.

        Those that cannot be opened are told on standard error and stand in `Opened.failed`; where it is all of them,
        the first error is raised. With `owned`, a database that is marked with another service is such a failure; with
        `migrated`, one that lacks migrations.
        """
        import asyncio

        from freehold.cli.output import note
        from freehold.variables import unread_names

        services = self.select(names)
        for unread in unread_names(self.services or [service.name for service in services]):
            note(unread.message)
        opened = Opened()
        try:
            opening = (_open(service, opened, migrated=migrated, owned=owned) for service in services)
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
                await access.stores.database.close()


async def _open(service: Service, opened: Opened, *, migrated: bool, owned: bool) -> FreeholdError | None:
    from freehold.database import check_owner
    from freehold.runtime.patterns import stores_of
    from freehold.settings import Settings

    try:
        settings = Settings.load(service.name)
        stores = stores_of(service, settings)
        await stores.database.open()
    except FreeholdError as error:
        return error
    except OSError as error:
        return ConfigurationError(f"{error.strerror or type(error).__name__}: {error.filename or 'the database'}")
    try:
        if owned:
            check_owner(stores.database.features, await stores.database.owner(), service.name)
        pending = await stores.database.pending() if migrated else []
        if pending:
            raise ConfigurationError(
                f"the database of '{service.name}' lacks {len(pending)} migrations", hint="freehold db upgrade"
            )
    except FreeholdError as error:
        await stores.database.close()
        return error
    except BaseException:
        await stores.database.close()
        raise
    opened.services.append(ServiceAccess(service, settings, stores))
    return None


async def _attempt(
    access: ServiceAccess, work: Callable[[ServiceAccess], Awaitable[T]]
) -> tuple[list[T], FreeholdError | None]:
    try:
        return [await work(access)], None
    except FreeholdError as error:
        return [], await explained(error, access)
    except Exception as error:  # noqa: BLE001 - what one service holds must not keep the others from being shown
        from freehold.failures import describe

        unreadable = DatabaseError(f"what it holds cannot be read: {describe(error)}", hint="freehold doctor")
        return [], await explained(unreadable, access)


@asynccontextmanager
async def named(access: ServiceAccess) -> AsyncIterator[None]:
    """What fails in here names the service, also where several are open, and what is missing in its database."""
    try:
        yield
    except FreeholdError as error:
        told = await explained(error, access)
        if told is error:
            error.of_service(access.name)
            raise
        raise told.of_service(access.name) from error


async def explained(error: FreeholdError, *accesses: ServiceAccess) -> FreeholdError:
    """An engine refuses for want of a table in words that name none; the schema says what is missing. Whose a lock is
    that was waited for in vain, a write says.
    """
    of_engine = isinstance(error, ConcurrencyConflict) and error.__cause__ is not None
    if not (isinstance(error, DatabaseError) or of_engine):
        return error
    for access in accesses:
        told = await _explained(access, error)
        if told is not error:
            return told
    return error


async def _explained(access: ServiceAccess, error: FreeholdError) -> FreeholdError:
    if isinstance(error, ConcurrencyConflict):
        try:
            await access.stores.database.probe(PROBE_SECONDS)
        except FreeholdError as locked:
            return locked
        return error
    try:
        found = await access.stores.database.defects()
    except FreeholdError as lost:
        return lost if isinstance(lost, DatabaseError) else error
    vital = [each for each in found if each.vital]
    if not vital:
        return error
    more = f", and {len(vital) - 1} more" if len(vital) > 1 else ""
    told = DatabaseError(f"{vital[0].subject} {vital[0].problem}{more}", hint=vital[0].remedy)
    told.__cause__ = error
    return told


def _imported(name: str) -> object:
    """Import a module of the user's. What it raises is told by its place: its text could hold anything."""
    try:
        return importlib.import_module(name)
    except FreeholdError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module '{name}'",
                hint="--app takes a module as in `import`, found from the working directory",
            ) from error
        raise _broken(name, error, f": there is no module '{error.name}'") from error
    except Exception as error:
        raise _broken(name, error, "") from error


def _broken(name: str, error: Exception, detail: str) -> ConfigurationError:
    frames = extract_tb(error.__traceback__)
    place = f", in {frames[-1].filename} line {frames[-1].lineno}" if frames else ""
    if isinstance(error, SyntaxError):
        place = f", in {error.filename} line {error.lineno}"
    return ConfigurationError(
        f"module '{name}' cannot be imported: {type(error).__name__}{detail}{place}",
        hint=f'see it whole with: python -c "import {name}"',
    )


def _hint(known: set[str], name: str = "", *, declared: bool) -> str:
    from freehold.fields import nearest
    from freehold.settings import settings_file

    if known:
        near = nearest(name, known)
        return f"{f'did you mean {near}? ' if near else ''}known: {', '.join(sorted(known))}"
    path = settings_file()
    read = f"{path.absolute()} was read" if path.exists() else f"there is no settings file {path.absolute()}"
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

"""The services that a command has opened: their settings and stores, and their failures. Face: imports lazily."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from freehold.errors import ConcurrencyConflict, ConfigurationError, DatabaseError, FreeholdError, joined

if TYPE_CHECKING:
    from freehold.broker import Broker, BrokerOptions, TopicLag
    from freehold.context import ServiceContext
    from freehold.ports import Stores
    from freehold.service import Service
    from freehold.settings import Settings

__all__ = ["PROBE_SECONDS", "OpenedServices", "ServiceAccess", "broker_lags", "explained", "named", "open_service"]

T = TypeVar("T")
PROBE_SECONDS: Final = 5.0
"""The time limit of a test write."""


@dataclass(frozen=True, slots=True)
class ServiceAccess:
    """A service with its settings and its open stores. `service` is empty if no module declares it."""

    service: Service
    settings: Settings
    stores: Stores
    context: ServiceContext
    """The context of its patterns, without loops."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.service.name


@dataclass(slots=True)
class OpenedServices:
    """The services that could be opened, and the errors of the others, by name."""

    services: list[ServiceAccess] = field(default_factory=list)
    failed: dict[str, FreeholdError] = field(default_factory=dict)

    async def each(self, work: Callable[[ServiceAccess], Awaitable[T]]) -> list[tuple[ServiceAccess, T]]:
        """Run `work` for all services concurrently; returns the results. A service whose work fails is written to
        standard error, is added to `failed`, and is left out from then on; the others are not affected.
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

    async def check_writes(self) -> None:
        """Check that each database accepts a write. A failure is handled as in `each`; results that were read before
        stay.
        """
        await self.each(lambda access: access.stores.database.probe(PROBE_SECONDS))

    @asynccontextmanager
    async def catching(
        self, access: ServiceAccess, *others: ServiceAccess, what: str = "", but: tuple[type[FreeholdError], ...] = ()
    ) -> AsyncIterator[None]:
        """Write an error of the block to standard error, add it to `failed` under the service's name or `what`, and
        continue with the next service. Errors of the types `but` are raised. `others` are services whose databases the
        block uses as well.
        """
        try:
            yield
        except but:
            raise
        except FreeholdError as error:
            self.fail(what or access.name, await explained(error, access, *others))

    def fail(self, name: str, error: FreeholdError) -> None:
        """Add an error to `failed`, and write it to standard error."""
        from freehold.cli.output import note

        self.failed[name] = error
        note(f"{name}: {error}")

    @property
    def code(self) -> int:
        """The exit code of a command that continued after failures: 0 for none. An error that does not end by itself
        decides: 2 for settings, 1 for other failures; otherwise it is 3, a service could not be reached.
        """
        from freehold.cli.entry import code_of

        return code_of(joined(self.failed.values())) if self.failed else 0

    def as_document(self) -> dict[str, dict[str, str]]:
        """The failures, for JSON; empty for none."""
        return {
            name: {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
            for name, error in self.failed.items()
        }


async def open_service(
    service: Service, opened: OpenedServices, *, migrated: bool, owned: bool
) -> FreeholdError | None:
    """Open the database of a service and add it to `opened`; returns the error if that fails."""
    from freehold.database import check_owner
    from freehold.runtime.patterns import service_context, stores_of
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
    opened.services.append(ServiceAccess(service, settings, stores, service_context(service, stores, settings)))
    return None


async def _attempt(
    access: ServiceAccess, work: Callable[[ServiceAccess], Awaitable[T]]
) -> tuple[list[T], FreeholdError | None]:
    try:
        return [await work(access)], None
    except FreeholdError as error:
        return [], await explained(error, access)
    except Exception as error:  # noqa: BLE001 - unreadable data of one service must not hide the others
        from freehold.failures import describe

        unreadable = DatabaseError(f"its data cannot be read: {describe(error)}", hint="freehold doctor")
        return [], await explained(unreadable, access)


@asynccontextmanager
async def named(access: ServiceAccess) -> AsyncIterator[None]:
    """Name the service in an error of the block, and explain it (`explained`)."""
    try:
        yield
    except FreeholdError as error:
        explanation = await explained(error, access)
        if explanation is error:
            error.of_service(access.name)
            raise
        raise explanation.of_service(access.name) from error


async def explained(error: FreeholdError, *accesses: ServiceAccess) -> FreeholdError:
    """An error that explains more than the engine's, or the same one: the first defect of the schema if a table is
    missing, or the error of a test write, which names the owner of a lock.
    """
    of_engine = isinstance(error, ConcurrencyConflict) and error.__cause__ is not None
    if not (isinstance(error, DatabaseError) or of_engine):
        return error
    for access in accesses:
        explanation = await _explained(access, error)
        if explanation is not error:
            return explanation
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
    explanation = DatabaseError(f"{vital[0].subject} {vital[0].problem}{more}", hint=vital[0].fix)
    explanation.__cause__ = error
    return explanation


async def broker_lags(opened: OpenedServices, *, probes: bool = False) -> dict[str, Sequence[TopicLag]]:
    """The lag of each service, all asked concurrently, so that a wait for a broker happens once. If a broker does not
    answer, its services are left out, and the error is added to `opened.failed`.

    probes  also check that the broker stores a record of each service.
    """
    import asyncio

    from freehold.runtime import open_broker

    found: dict[str, Sequence[TopicLag]] = {}
    places: dict[tuple[str, BrokerOptions], list[ServiceAccess]] = {}
    for access in opened.services:
        places.setdefault((access.settings.broker, access.settings.broker_options), []).append(access)

    async def ask(broker: Broker, access: ServiceAccess) -> None:
        try:
            found[access.name] = await broker.lag(access.name)
            if probes:
                await broker.probe(access.name, PROBE_SECONDS)
        except FreeholdError as error:
            opened.fail(f"broker of {access.name}", error)

    async def ask_all(url: str, options: BrokerOptions, users: Sequence[ServiceAccess]) -> None:
        broker: Broker | None = None
        try:
            broker = open_broker(url, options)
            await broker.open()
        except FreeholdError as error:
            opened.fail(f"broker of {', '.join(access.name for access in users)}", error)
        else:
            await asyncio.gather(*(ask(broker, access) for access in users))
        finally:
            if broker is not None:
                await broker.close()

    await asyncio.gather(*(ask_all(*place, users) for place, users in places.items()))
    return found

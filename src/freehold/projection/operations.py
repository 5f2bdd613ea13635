"""The operator's actions on projections: rebuild, switch, cancel, pause, retry and skip parked streams, refresh views.

Pattern: imports the stores, the transaction and its package. Every action is one transaction with its audit entry, with
the `actor` and the `reason`. It needs an open database, and the projection's declaration if it calls handlers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.audit.store import AUDIT, AuditEntry
from freehold.context import ServiceContext
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, ConfigurationError, NotFound
from freehold.eventstore.store import EVENTS
from freehold.leases.store import LEASES
from freehold.projection.apply_modes import SuppressedInvoker
from freehold.projection.declaration import Projection
from freehold.projection.generations import RebuildSource, SwitchResult, begin, cancel_rebuild, delete_leases
from freehold.projection.key_rebuild import rebuild_key, streams_of_key
from freehold.projection.parked_stream import ParkedStreamRetrier, RetryResult
from freehold.projection.pattern import PROJECTION, VIEW
from freehold.projection.rebuild_runner import attempt_drop, attempt_switch
from freehold.projection.status import StatusReport, read_status
from freehold.projection.store import CHANGED, CHECKPOINTS, Generation, GenerationState, ParkedStream, Pause
from freehold.projection.view_store import VIEWS, MaterializedView, ViewState
from freehold.transaction import Transactions

__all__ = ["ProjectionOperations"]

_SWITCH_ATTEMPTS: Final = 5


class ProjectionOperations:
    """Actions on the projections of one service, which need not be running: its database must be open."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.stores = context.stores
        self._transactions = context.find(Transactions) or Transactions(context)
        self.history = RebuildSource(context.stores, SuppressedInvoker(self._transactions))

    def declared(self, name: str) -> Projection:
        """The declaration of a projection. Raises `ConfigurationError` if it is not declared here."""
        found = self.context.of(PROJECTION).get(name)
        if found is None:
            raise ConfigurationError(
                f"projection '{name}' of '{self.context.service}' is not declared here",
                hint="name the module that declares it with --app",
            )
        return found

    async def read_status(self, name: str | None = None, *, retired: bool = False) -> StatusReport:
        """The present status of projections. Raises `NotFound` for one that has not run yet."""
        found = await read_status(
            self.stores[CHECKPOINTS],
            self.stores[EVENTS],
            self.context.of(PROJECTION),
            self.context.clock,
            projection=name,
            retired=retired,
        )
        if name is not None and not found.generations:
            raise NotFound(
                f"projection '{name}' has not run yet in '{self.context.service}'", hint="freehold projection list"
            )
        return found

    async def rebuild(self, name: str, *, actor: str, reason: str) -> Generation:
        """Begin the next generation beside the live one; the running service builds it. Raises as `begin`."""
        async with self.stores.database.begin() as db_tx:
            made = await begin(db_tx, self.history, self.declared(name), reason=reason)
            await self.note(db_tx, "projection.rebuild", f"{name}/{made.number}", actor, reason)
        self.context.emit(CHANGED)
        return made

    async def switch(self, name: str, *, actor: str, reason: str, force: bool = False) -> SwitchResult:
        """Make the building generation the live one; retries a few times if readers or runners hold locks. Raises as
        `generations.switch`.
        """
        projection = self.declared(name)

        async def note(db_tx: DatabaseTransaction) -> None:
            await self.note(db_tx, "projection.switch", name, actor, reason)

        attempts = _SWITCH_ATTEMPTS
        while True:
            attempts -= 1
            try:
                done = await attempt_switch(self.stores.database, self.history, projection, force=force, note=note)
            except ConcurrencyConflict as error:
                if type(error) is not ConcurrencyConflict or not attempts:
                    raise
            else:
                self.context.emit(CHANGED)
                return done

    async def cancel_rebuild(self, name: str, *, actor: str, reason: str) -> Generation:
        """Retire the generation that is being built. Raises `NotFound`."""
        async with self.stores.database.begin() as db_tx:
            cancelled = await cancel_rebuild(db_tx, self.history.checkpoints, name)
            await self.note(db_tx, "projection.cancel-rebuild", f"{name}/{cancelled.number}", actor, reason)
        self.context.emit(CHANGED)
        return cancelled

    async def drop(self, name: str, number: int, *, actor: str, reason: str) -> None:
        """Drop a retired generation before its retention ends. Raises as `generations.drop`."""

        async def note(db_tx: DatabaseTransaction) -> None:
            await self.note(db_tx, "projection.drop", f"{name}/{number}", actor, reason)

        await attempt_drop(self.stores.database, self.history, self.declared(name), number, note=note)
        await delete_leases(self.stores[LEASES], self.stores[CHECKPOINTS])
        self.context.emit(CHANGED)

    async def pause(self, name: str, *, actor: str, reason: str) -> bool:
        """Pause all generations of a projection. False if they were paused before. Raises `NotFound`."""
        await self._check_known(name)
        async with self.stores.database.begin() as db_tx:
            paused = await self.stores[CHECKPOINTS].pause(db_tx, name, reason=reason, actor=actor)
            if paused:
                await self.note(db_tx, "projection.pause", name, actor, reason)
        self.context.emit(CHANGED)
        return paused

    async def resume(self, name: str, *, actor: str, reason: str) -> Sequence[Pause]:
        """Resume a projection, and generations that paused themselves; returns the ended pauses. Raises `NotFound`."""
        await self._check_known(name)
        async with self.stores.database.begin() as db_tx:
            ended = []
            for each in await self.stores[CHECKPOINTS].pauses(name):
                pause = await self.stores[CHECKPOINTS].resume(db_tx, name, each.generation)
                ended += [pause] if pause is not None else []
            if ended:
                await self.note(db_tx, "projection.resume", name, actor, reason)
        self.context.emit(CHANGED)
        return ended

    async def parked(self, name: str, limit: int) -> Sequence[ParkedStream]:
        """The parked streams of all generations, at most `limit`. Raises `NotFound` for an unknown projection."""
        await self._check_known(name)
        return await self.stores[CHECKPOINTS].parked(name, limit=limit)

    async def retry(self, name: str, stream: str, *, actor: str, reason: str) -> list[tuple[int, RetryResult]]:
        """Retry a parked stream in every generation of the version that is declared here; returns the results by
        generation.

        Raises `NotFound`, `ConcurrencyConflict`, `ConfigurationError` if it is parked only in other versions.
        """
        retrier = self._retrier(name)
        return [
            (each, await retrier.retry_now(each, stream, actor=actor, reason=reason))
            for each in await self._where_parked(name, stream)
        ]

    async def skip(self, name: str, stream: str, *, actor: str, reason: str) -> list[tuple[int, RetryResult]]:
        """Skip the event at which a stream is parked, in the same generations. Raises as `retry`."""
        retrier = self._retrier(name)
        return [
            (each, await retrier.skip(each, stream, actor=actor, reason=reason))
            for each in await self._where_parked(name, stream)
        ]

    async def rebuild_key(self, name: str, stream: str, *, actor: str, reason: str) -> int:
        """Rebuild the live rows of a stream, and of those that belong to it; returns how many events were applied.

        Raises as `streams_of_key` and `rebuild_key`.
        """
        projection = self.declared(name)
        streams = await streams_of_key(self.history, projection, stream)
        async with self.stores.database.begin() as db_tx:
            count = await rebuild_key(db_tx, self.history, projection, *streams)
            await self.note(db_tx, "projection.rebuild-key", f"{name}/{stream}", actor, reason)
        return count

    async def refresh(self, name: str) -> ViewState:
        """Refresh a materialized view now. Raises `ConfigurationError` for one that is not declared here, and as
        `ViewStore.refresh`.
        """
        return await self.stores[VIEWS].refresh(self._view(name))

    async def note(self, db_tx: DatabaseTransaction, action: str, subject: str, actor: str, reason: str) -> None:
        """Write an audit entry."""
        entry = AuditEntry(at=self.context.clock.now(), actor=actor, action=action, subject=subject, reason=reason)
        await self.stores[AUDIT].add(db_tx, entry)

    def _view(self, name: str) -> MaterializedView:
        found = self.context.of(VIEW).get(name)
        if found is None:
            raise ConfigurationError(
                f"materialized view '{name}' of '{self.context.service}' is not declared here",
                hint="name the module that declares it with --app",
            )
        return found

    def _retrier(self, name: str) -> ParkedStreamRetrier:
        stores = self.stores
        return ParkedStreamRetrier(
            self.declared(name), self._transactions, stores[EVENTS], stores[CHECKPOINTS], stores[AUDIT]
        )

    async def _where_parked(self, name: str, stream: str) -> list[int]:
        found = await self.stores[CHECKPOINTS].parked(name, stream=stream)
        if not found:
            raise NotFound(f"stream '{stream}' of projection '{name}' is not parked", hint="freehold projection parked")
        version = self.declared(name).version
        generations = {
            each.number: each
            for each in await self.stores[CHECKPOINTS].generations(name)
            if each.state is not GenerationState.RETIRED
        }
        parked_in = [each.generation for each in found if each.generation in generations]
        own = [number for number in parked_in if generations[number].version == version]
        if parked_in and not own:
            raise ConfigurationError(
                f"stream '{stream}' is parked in version {generations[parked_in[0]].version} of projection '{name}',"
                f" and version {version} is declared here",
                hint="run this where the code of that version is deployed",
            )
        return own

    async def _check_known(self, name: str) -> None:
        if not await self.stores[CHECKPOINTS].generations(name):
            raise NotFound(
                f"projection '{name}' has not run yet in '{self.context.service}'", hint="freehold projection list"
            )

"""The loader of aggregates: from the newest snapshot that fits, or from the first event. Pattern: imports the
foundation, the ports, the transaction.

For speed, the loop over events does the minimum for each: it decodes the bytes with a decoder that was looked up once,
and calls `evolve`. Only versions with an upcaster take the general way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import msgspec

from freehold.aggregate.model import Model, refuse_event
from freehold.aggregate.snapshots import StateCodec
from freehold.aggregate.store import SNAPSHOTS, Snapshot, SnapshotStore
from freehold.eventstore.store import EVENTS, Body, EventStore, NewEvent
from freehold.messages import read_event, registry, upcasters
from freehold.transaction import Transaction

__all__ = ["PAGE", "LoadedAggregate", "Loader", "fold", "snapshots_of"]

S = TypeVar("S")
_Decode = Callable[[bytes], Any]
PAGE: Final = 5000
"""Events in one query."""
_decoders: dict[type[Any], _Decode] = {}


def fold(model: Model[S], state: S, events: Iterable[Body]) -> S:
    """Return the state after these events.

    Raises `UnknownMessage`, `CodecError` for events that cannot be read, `DeclarationError` for an event that the model
    does not take. Upcasters may turn one stored event into several, or into none.
    """
    evolve = model.evolve
    decoders: dict[tuple[str, int], _Decode | None] = {}
    for _, name, version, body in events:
        key = (name, version)
        if key not in decoders:
            decoders[key] = _direct(model, name, version)
        decode = decoders[key]
        if decode is None:
            state = _evolve_upcast(model, state, name, version, body)
            continue
        try:
            event = decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Read again by `read_event`, whose error describes the fault without showing the data.
            (event,) = read_event(name, version, body)
        state = evolve(state, event)
    return state


def _direct(model: Model[Any], name: str, version: int) -> _Decode | None:
    """The decoder of a version that no upcaster changes; None for one that has an upcaster."""
    if upcasters.find(name, version) is not None:
        return None
    cls = registry.find(name, version).cls
    if model.event_types is not None and cls not in model.event_types:
        raise refuse_event(model, cls)
    found = _decoders.get(cls)
    if found is None:
        found = _decoders[cls] = msgspec.json.Decoder(cls).decode
    return found


def _evolve_upcast(model: Model[S], state: S, name: str, version: int, body: bytes) -> S:
    for event in read_event(name, version, body):
        if model.event_types is not None and type(event) not in model.event_types:
            raise refuse_event(model, type(event))
        state = model.evolve(state, event)
    return state


@dataclass(frozen=True, slots=True)
class LoadedAggregate(Generic[S]):
    """A state and its version, with the pending events of this transaction.

    `snapshot_version` is the version of the snapshot that it was folded from; 0 if it was folded from its first event.
    """

    state: S
    version: int
    snapshot_version: int = 0


class Loader(Generic[S]):
    """Loads the aggregates of a model; with a codec, from their snapshots."""

    def __init__(self, model: Model[S], codec: StateCodec[S] | None) -> None:
        self._model = model
        self._codec = codec

    async def load(self, tx: Transaction, id: str, stream: str) -> tuple[LoadedAggregate[S], bool]:
        """Return the aggregate as the transaction sees it, and whether its snapshot does not fit."""
        snapshot = await snapshots_of(tx).load(stream, self._model.kind, db_tx=tx.db_tx) if self._codec else None
        loaded = await self._resume(tx, id, stream, snapshot) if snapshot is not None else None
        unfit = snapshot is not None and loaded is None
        if loaded is None:
            loaded = await self._fold_stored(tx, stream, LoadedAggregate(self._model.begin(id), 0))
        pending = tx.staging.pending_events(stream)
        if pending:
            state = fold(self._model, loaded.state, _bodies(pending, loaded.version + 1))
            loaded = replace(loaded, state=state, version=loaded.version + len(pending))
        return loaded, unfit

    async def _resume(self, tx: Transaction, id: str, stream: str, snapshot: Snapshot) -> LoadedAggregate[S] | None:
        """Continue from a snapshot; None if it does not fit.

        The event after which it was taken is read as well: a stream that was restored from a backup may lack it, or may
        have another event of that version.
        """
        read = self._codec.read(snapshot) if self._codec is not None else None
        if read is None:
            return None
        last_event, state = read
        events = await _stored(tx).read_stream(stream, after=snapshot.version - 1, limit=PAGE, db_tx=tx.db_tx)
        if not events or events[0].version != snapshot.version or events[0].event.id != last_event:
            return None
        later = _bodies([each.event for each in events[1:]], snapshot.version + 1)
        state = fold(self._model, self._model.restore(id, state), later)
        loaded = LoadedAggregate(state, events[-1].version, snapshot.version)
        return loaded if len(events) < PAGE else await self._fold_stored(tx, stream, loaded)

    async def _fold_stored(self, tx: Transaction, stream: str, loaded: LoadedAggregate[S]) -> LoadedAggregate[S]:
        """Fold the stored events to the end of the stream, one query for a page."""
        state, version = loaded.state, loaded.version
        while True:
            bodies = await _stored(tx).read_bodies(stream, after=version, limit=PAGE, db_tx=tx.db_tx)
            if bodies:
                state = fold(self._model, state, bodies)
                version = bodies[-1][0]
            if len(bodies) < PAGE:
                return LoadedAggregate(state, version, loaded.snapshot_version)


def snapshots_of(tx: Transaction) -> SnapshotStore:
    """The service's snapshot store. Raises `MissingPort` if its engine has none."""
    return tx.staging.context.stores[SNAPSHOTS]


def _stored(tx: Transaction) -> EventStore:
    return tx.staging.context.stores[EVENTS]


def _bodies(events: Sequence[NewEvent], first: int) -> Sequence[Body]:
    return [(version, each.type, each.schema_version, each.data) for version, each in enumerate(events, first)]

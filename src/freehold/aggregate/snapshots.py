"""When a snapshot is kept, how a state becomes one, and whether one still fits. Pattern: imports the snapshot port, the
codec and the transaction.

A snapshot that does not fit is not an error: it is passed over, and the stream is folded from its first event. It fits
where its state was written by the same `schema_version`, from the same events, by the same code (`fingerprint`), in
the same shape, and where the stream still holds the very event that it was taken behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from freehold.aggregate.fingerprint import fingerprint
from freehold.aggregate.model import Model
from freehold.aggregate.store import Snapshot, SnapshotStore
from freehold.errors import DeclarationError
from freehold.transaction import Transaction

__all__ = ["PendingSnapshots", "SnapshotPolicy", "StateCodec"]

S = TypeVar("S")
_log = logging.getLogger("freehold.aggregate")
_encoder: Final = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """Which states are worth a snapshot.

    every   as soon as the stream is this many events further than its snapshot; 0 leaves it to `when`.
    when    a pure function of the state, asked after each append: the end of a phase, for one.
    """

    every: int = 100
    when: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        """Refuse what can never be due."""
        if self.every < 0:
            raise DeclarationError(f"SnapshotPolicy.every must not be negative, and is {self.every}")
        if self.every == 0 and self.when is None:
            raise DeclarationError("a SnapshotPolicy that is never due", hint="give `every` or `when`")

    def due(self, state: object, version: int, kept_version: int) -> bool:
        """Whether a stream at `version` is to get a snapshot, with one at `kept_version` there (0: none)."""
        if self.every and version - kept_version >= self.every:
            return True
        return self.when is not None and self.when(state)


class _Kept(msgspec.Struct):
    """What a snapshot's data is: a state, and the id of the event that it was taken behind."""

    event: UUID
    state: msgspec.Raw


class StateCodec(Generic[S]):
    """Encodes and reads the states of a model. Raises `DeclarationError` where its state cannot be kept at all."""

    def __init__(self, model: Model[S]) -> None:
        self._model = model
        try:
            self._decoder = msgspec.json.Decoder(model.state_type)
            self._fingerprint = fingerprint(model.state_type, model.event_types or (), model.folding)
        except (TypeError, NameError) as error:
            raise DeclarationError(
                f"the state of '{model.category}' cannot be kept in snapshots: {error}",
                hint="use a dataclass of plain types, name it in `state`, or go without snapshots",
            ) from error
        self._warned = False

    def take(self, stream: str, version: int, last_event: UUID, state: S) -> Snapshot | None:
        """A snapshot of a state; None, and a warning once, where the state does not come back as it was."""
        encoded = self._encode(state)
        if encoded is None:
            self._warn()
            return None
        return Snapshot(
            stream=stream,
            kind=self._model.kind,
            version=version,
            schema_version=self._model.schema_version,
            fingerprint=self._fingerprint,
            data=_encoder.encode(_Kept(last_event, msgspec.Raw(encoded))),
        )

    def read(self, snapshot: Snapshot) -> tuple[UUID, S] | None:
        """The id of the event behind which it was taken, and the state; None where it does not fit."""
        if snapshot.schema_version != self._model.schema_version or snapshot.fingerprint != self._fingerprint:
            return None
        try:
            kept = msgspec.json.decode(snapshot.data, type=_Kept)
            return kept.event, self._decoder.decode(kept.state)
        except (msgspec.MsgspecError, ValueError, TypeError):
            return None

    def _encode(self, state: S) -> bytes | None:
        """The state as JSON; None where another one would come back: a UUID in a field that is declared `Any`, or
        without what its equality does not look at: an attribute that is no field.
        """
        try:
            encoded = _encoder.encode(state)
            again = self._decoder.decode(encoded)
            return encoded if again == state and _attributes(again) == _attributes(state) else None
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
            return None

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "the state of '%s' does not come back from JSON as it was: no snapshot of it is kept",
                self._model.category,
            )


def _attributes(state: object) -> dict[str, object]:
    """Everything that an object holds, but for what is computed from it once."""
    held: dict[str, object] = getattr(state, "__dict__", {})
    return {
        name: value for name, value in held.items() if not isinstance(getattr(type(state), name, None), cached_property)
    }


@dataclass(slots=True)
class PendingSnapshots:
    """Snapshots that a transaction is to keep or throw away; written with its appends, in a fixed order."""

    store: SnapshotStore
    kept: dict[tuple[str, str], Snapshot] = field(default_factory=dict)
    unfit: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, tx: Transaction, store: SnapshotStore) -> PendingSnapshots:
        """Those of this transaction."""
        return tx.staging.companion(cls, lambda: cls(store), lambda pending: pending.write(tx), left=_nothing_is_lost)

    def remember(self) -> Callable[[], None]:
        """Return what brings back the state of now, for a savepoint."""
        kept, unfit = dict(self.kept), set(self.unfit)

        def restore() -> None:
            self.kept, self.unfit = dict(kept), set(unfit)

        return restore

    def kept_version(self, stream: str, kind: str) -> int:
        """The version of what is going to be kept, 0 for nothing."""
        found = self.kept.get((stream, kind))
        return found.version if found is not None else 0

    async def write(self, tx: Transaction) -> None:
        """Write everything, and forget it: the next `write` of the same transaction begins again."""
        for key in sorted(self.unfit | self.kept.keys()):
            if key in self.unfit:
                await self.store.discard(*key, db_tx=tx.db_tx)
            if key in self.kept:
                await self.store.save(tx.db_tx, self.kept[key])
        self.unfit.clear()
        self.kept.clear()


def _nothing_is_lost(_pending: PendingSnapshots) -> bool:
    """A snapshot that is not written is made at another time."""
    return False

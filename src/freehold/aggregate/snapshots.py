"""The policy, the codec and the pending writes of snapshots. Pattern: imports the snapshot port, the codec of messages
and the transaction.

A snapshot that does not fit is no error: it is ignored, and the stream is folded from its first event. It fits if its
state has the same `schema_version`, was made from the same events, by the same code (`fingerprint`), in the same shape,
and if the stream still has the event after which it was taken.
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
    """Decides when to save a snapshot.

    every   save one when the stream is this many events further than its snapshot; 0 leaves the decision to `when`.
    when    a pure function of the state, called after each append; for example, for the end of a phase.
    """

    every: int = 100
    when: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        """Refuse a policy that is never due."""
        if self.every < 0:
            raise DeclarationError(f"SnapshotPolicy.every must not be negative, and is {self.every}")
        if self.every == 0 and self.when is None:
            raise DeclarationError("a SnapshotPolicy that is never due", hint="give `every` or `when`")

    def due(self, state: object, version: int, saved_version: int) -> bool:
        """Whether to save a snapshot at `version`, if the stream has one at `saved_version` (0: none)."""
        if self.every and version - saved_version >= self.every:
            return True
        return self.when is not None and self.when(state)


class _Data(msgspec.Struct):
    """The data of a snapshot: a state, and the id of the event after which it was taken."""

    event: UUID
    state: msgspec.Raw


class StateCodec(Generic[S]):
    """Encodes and decodes the states of a model. Raises `DeclarationError` for a state that cannot be stored."""

    def __init__(self, model: Model[S]) -> None:
        self._model = model
        try:
            self._decoder = msgspec.json.Decoder(model.state_type)
            self._fingerprint = fingerprint(model.state_type, model.event_types or (), model.folding)
        except (TypeError, NameError) as error:
            raise DeclarationError(
                f"the state of '{model.category}' cannot be stored in snapshots: {error}",
                hint="use a dataclass of plain types, name it in `state`, or use no snapshots",
            ) from error
        self._warned = False

    def snapshot(self, stream: str, version: int, last_event: UUID, state: S) -> Snapshot | None:
        """Make a snapshot of a state; None, with one warning in the log, if JSON does not preserve the state."""
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
            data=_encoder.encode(_Data(last_event, msgspec.Raw(encoded))),
        )

    def read(self, snapshot: Snapshot) -> tuple[UUID, S] | None:
        """Return the id of the event after which it was taken, and the state; None if it does not fit."""
        if snapshot.schema_version != self._model.schema_version or snapshot.fingerprint != self._fingerprint:
            return None
        try:
            data = msgspec.json.decode(snapshot.data, type=_Data)
            return data.event, self._decoder.decode(data.state)
        except (msgspec.MsgspecError, ValueError, TypeError):
            return None

    def _encode(self, state: S) -> bytes | None:
        """The state as JSON; None if another state would be decoded from it.

        Examples: a UUID in a field declared as `Any`; an attribute that is no field, which `==` does not compare.
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
                "the state of '%s' cannot be restored from JSON: no snapshots of it are saved",
                self._model.category,
            )


def _attributes(state: object) -> dict[str, object]:
    """The attributes of an object, but for cached properties."""
    held: dict[str, object] = getattr(state, "__dict__", {})
    return {
        name: value for name, value in held.items() if not isinstance(getattr(type(state), name, None), cached_property)
    }


@dataclass(slots=True)
class PendingSnapshots:
    """The snapshots that a transaction will save or discard; written with its appends, in a fixed order."""

    store: SnapshotStore
    to_save: dict[tuple[str, str], Snapshot] = field(default_factory=dict)
    unfit: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, tx: Transaction, store: SnapshotStore) -> PendingSnapshots:
        """The pending snapshots of this transaction."""
        return tx.staging.companion(cls, lambda: cls(store), lambda pending: pending.write(tx), left=_nothing_is_lost)

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state, for a savepoint."""
        to_save, unfit = dict(self.to_save), set(self.unfit)

        def restore() -> None:
            self.to_save, self.unfit = dict(to_save), set(unfit)

        return restore

    def saved_version(self, stream: str, kind: str) -> int:
        """The version of the snapshot that will be saved; 0 for none."""
        found = self.to_save.get((stream, kind))
        return found.version if found is not None else 0

    async def write(self, tx: Transaction) -> None:
        """Write everything, and clear it: the next `write` of the same transaction starts with nothing."""
        for key in sorted(self.unfit | self.to_save.keys()):
            if key in self.unfit:
                await self.store.discard(*key, db_tx=tx.db_tx)
            if key in self.to_save:
                await self.store.save(tx.db_tx, self.to_save[key])
        self.unfit.clear()
        self.to_save.clear()


def _nothing_is_lost(_pending: PendingSnapshots) -> bool:
    """Nothing is lost without this snapshot: a later command saves another one."""
    return False

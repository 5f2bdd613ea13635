"""The replay port: replays of stored events, and their errors. Pattern: imports the foundation and the database port.

A replay moves by compare-and-set, as a checkpoint does: two processes may work on it (`freehold.projection.store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.ports import Port
from freehold.projection.store import CrashMarks

__all__ = [
    "REPLAYS",
    "NewReplay",
    "Replay",
    "ReplayError",
    "ReplayState",
    "ReplayStore",
    "replay_conflict",
    "unknown_replay",
]


class ReplayState(StrEnum):
    """The state of a replay."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NewReplay:
    """A replay to begin.

    generation     the live generation that it goes into; None for tables of its own.
    recorded_from, recorded_to  the time range, by when events were recorded; the end is exclusive.
    position       where to begin: every event at or before it is outside of the range.
    end            the position of the last event that is read.
    """

    projection: str
    generation: int | None
    recorded_from: datetime | None
    recorded_to: datetime | None
    position: int
    end: int
    actor: str
    reason: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Replay(CrashMarks):
    """A replay as it was read. `applied` and `failed` count the events of the range through `position`; `tables` are
    physical tables of its own, which are dropped with it.
    """

    number: int
    projection: str
    generation: int | None
    recorded_from: datetime | None
    recorded_to: datetime | None
    position: int
    end: int
    applied: int
    failed: int
    state: ReplayState
    actor: str
    reason: str
    tables: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    started_position: int = -1
    isolated_position: int = 0
    isolated_attempts: int = 0


@dataclass(frozen=True, slots=True)
class ReplayError:
    """An event that could not be applied: `error` is the exception's type, `detail` where it was raised."""

    position: int
    stream: str
    version: int
    event_id: UUID
    type: str
    error: str
    detail: str = field(repr=False)


class ReplayStore(Protocol):
    """The store of a service's replays of events and their errors, in its own database.

    An implementation keeps:

    1. The number of a replay is never used twice, even after the newest was deleted: tables are named after it.
    2. The position moves by compare-and-set, in the transaction of the effects. Of two processes that work on one
       replay the later gets `ConcurrencyConflict` and writes nothing, not even errors.
    3. An advance locks the replay until the commit, and a rollback undoes it together with its effects.
    4. An error is stored in the transaction that moves past its event, once for each event. Errors are read page by
       page, in order of position.
    5. A start is recorded by compare-and-set, before the work; an advance makes it void.
    6. A replay that has ended does not move and does not end twice (`ConcurrencyConflict`). A cancelled one can be
       restarted at its position, one that is done cannot.
    7. A running replay is neither deleted nor pruned, and errors are deleted with their replay. Pruning is bounded by
       `limit` rows, and leaves each replay that has tables of its own.
    8. To get, end or restart a replay that does not exist raises `NotFound`; to delete one returns None.
    """

    async def create(self, db_tx: DatabaseTransaction, replay: NewReplay) -> Replay:
        """Create a replay; returns it with its number. It has no tables yet."""

    async def set_tables(self, db_tx: DatabaseTransaction, number: int, tables: Sequence[str]) -> Replay:
        """Store the names of its tables, in the transaction that makes them. Raises `NotFound`."""

    async def advance(
        self,
        db_tx: DatabaseTransaction,
        expected: Replay,
        position: int,
        *,
        applied: int,
        failed: Sequence[ReplayError] = (),
    ) -> Replay:
        """Move to a position, add to the counts, and store what failed. To be called first in a transaction: it locks
        the replay until the commit. Raises `ConcurrencyConflict` if it is not as expected.
        """

    async def begin(
        self, db_tx: DatabaseTransaction, expected: Replay, *, isolated_position: int = 0, isolated_attempts: int = 0
    ) -> Replay:
        """Record, before the work, that a process starts from here, or that it starts the event at `isolated_position`
        in isolation; `isolated_attempts` is how often, with this time. Raises `ConcurrencyConflict` as `advance`.
        """

    async def end(self, db_tx: DatabaseTransaction, number: int, state: ReplayState) -> Replay:
        """End a running replay. Raises `ConcurrencyConflict` for one that has ended, `NotFound`."""

    async def restart(self, db_tx: DatabaseTransaction, number: int) -> Replay:
        """Restart a cancelled replay at its position; a running one stays as it is.

        Raises `ConcurrencyConflict` for one that is done, `NotFound`.
        """

    async def get(self, number: int) -> Replay:
        """One replay. Raises `NotFound`."""

    async def find(self, projection: str | None = None, *, limit: int = 100) -> Sequence[Replay]:
        """Replays, the newest first."""

    async def errors(self, number: int, *, after: int = 0, limit: int = 100) -> Sequence[ReplayError]:
        """Errors after a position, in order of position."""

    async def delete(self, db_tx: DatabaseTransaction, number: int) -> Replay | None:
        """Delete a replay with its errors; returns it, so that its tables can be dropped in the same transaction, or
        None if there is none. Raises `ConcurrencyConflict` for a running one.
        """

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete replays that ended so long ago, errors first; returns how many rows, at most `limit`.

        A replay with tables of its own stays, with its errors, until an operator drops it.
        """


REPLAYS: Final[Port[ReplayStore]] = Port(
    "replays", "replays of events", ReplayStore, "freehold.conformance.replays:ReplayStoreConformance"
)


def replay_conflict(expected: Replay) -> ConcurrencyConflict:
    """The error for a replay that has moved or ended since it was read."""
    return ConcurrencyConflict(
        f"replay {expected.number} is not at {expected.position} any more",
        hint="another process works on it, or has ended it",
    )


def unknown_replay(number: int) -> NotFound:
    """The error for a replay that does not exist."""
    return NotFound(f"there is no replay {number}", hint="freehold projection replay list")

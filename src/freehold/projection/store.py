"""The checkpoint port: the progress of projections, by generation and partition. Pattern: imports the foundation, the
database port.

A projection's read model is built in **generations**, each with tables of its own. A generation has one **checkpoint**
for each partition: every event through `position` was applied, or skipped for a parked stream, or is not followed. The
runner of a building generation never passes the live one, so that no side effect is lost between them: caught up means
equal positions.

`advance` comes **first** in a transaction. The instances of a projection share its partitions by leases, and a holder
may have lost its lease without knowing it, so that two instances work at one checkpoint:

    t1  runner A reads events 101 to 150, and is frozen
    t2  runner B takes the lease over, reads 101 to 150, advances, writes their rows, commits
    t3  A continues with its batch

    checkpoint last:   A inserts the row of 101 and gets a unique violation: it parks the stream of 101, although
                       nothing is wrong with that event
    checkpoint first:  A's `advance` raises `ConcurrencyConflict` before A has touched the read model; if B has not
                       committed yet, A waits for the commit

`begin` records a **start** before the work. A process that finds the checkpoint still at the position of a start knows
that the process which started there has crashed (`freehold.projection.crash_recovery` says what follows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from freehold.context import Signal
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict
from freehold.ports import Port

__all__ = [
    "ALL_GENERATIONS",
    "CHECKPOINTS",
    "PARKED_READ_MAX",
    "Checkpoint",
    "CheckpointStore",
    "CrashMarks",
    "Generation",
    "GenerationState",
    "Move",
    "ParkedStream",
    "ParkedStreamUpdate",
    "Pause",
    "checkpoint_conflict",
]

ALL_GENERATIONS: Final = 0
"""The generation of a pause of all generations of a projection."""

PARKED_READ_MAX: Final = 100_000
"""The limit of a read of all parked streams of a generation; `Projection.parked_max` cannot be greater."""


class GenerationState(StrEnum):
    """The state of a generation."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Generation:
    """One build of a read model. `version` is that of the code that builds it; `reason` says why it is built.

    `partitions` is 0 for an inline projection, which has no checkpoints. `tables` are the plain names of the tables
    that were made for it: these are dropped with it, whatever the code declares by then.
    """

    projection: str
    number: int
    version: int
    partitions: int
    state: GenerationState
    reason: str
    created_at: datetime
    changed_at: datetime
    tables: tuple[str, ...] = ()


class CrashMarks:
    """What a checkpoint and a replay record of starts, by which a crash is detected: base of both.

    started_position   the position from which a runner last recorded a start.
    isolated_position  the position of the event that was last started in isolation.
    isolated_attempts  how often that event was started.
    """

    __slots__ = ()
    position: int
    started_position: int
    isolated_position: int
    isolated_attempts: int

    @property
    def interrupted(self) -> bool:
        """Whether a runner started from here and has not advanced."""
        return self.started_position == self.position or self.isolated_position > self.position

    def attempts_at(self, position: int) -> int:
        """How often the event at a position was started in isolation, if it is the last one that was."""
        return self.isolated_attempts if self.isolated_position == position else 0


@dataclass(frozen=True, slots=True)
class Checkpoint(CrashMarks):
    """The progress of a partition of a generation, as it was read.

    handled, failed  how many events were applied, and how many parked their stream, since the generation was made.
    revision         increased with each change that a runner must know of.
    """

    projection: str
    generation: int
    partition: int
    position: int
    state: GenerationState
    revision: int
    handled: int
    failed: int
    updated_at: datetime
    started_position: int = -1
    isolated_position: int = 0
    isolated_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A move of a checkpoint: what it is expected to be, its new position, and what to add to its counts."""

    expected: Checkpoint
    position: int
    handled: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ParkedStreamUpdate:
    """A stream to park: its events are not applied from the one at `version` on.

    `retry_seconds` is the time until the next retry; None to wait for an operator. `error` is the exception's type,
    `detail` where it was raised, never a payload. `started_attempts` is how often a retry was started since that error;
    0 once an outcome is known.
    """

    stream: str
    position: int
    version: int
    event_id: UUID
    type: str
    error: str
    detail: str = field(repr=False)
    attempts: int
    retry_seconds: float | None
    started_attempts: int = 0


@dataclass(frozen=True, slots=True)
class ParkedStream:
    """A parked stream. `due_seconds` is the time until the next attempt when it was read: 0 or less means due, None
    means that it waits for an operator.

    If `started_attempts` is not 0, it is being retried, or the process that retried it has crashed; `error` is then the
    one from before the retry.
    """

    projection: str
    generation: int
    partition: int
    stream: str
    position: int
    version: int
    event_id: UUID
    type: str
    error: str
    detail: str = field(repr=False)
    attempts: int
    parked_at: datetime
    due_seconds: float | None
    started_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """The pause of a projection until an operator resumes it; `generation` may be `ALL_GENERATIONS`."""

    projection: str
    generation: int
    reason: str
    actor: str
    paused_at: datetime


class CheckpointStore(Protocol):
    """The store of projections' progress, in the service's own database, beside the read models.

    An implementation keeps:

    1. A checkpoint moves in the transaction of the effects, by compare-and-set on its position, state and `revision`. A
       runner that was overtaken gets `ConcurrencyConflict` and writes nothing.
    2. The revision increases with everything else that a runner must know of: a stream parked or released, a pause, the
       switch. So a runner that does not know of it yet is refused in the same way, and need not be notified.
    3. An advance locks its checkpoints until the commit, even if none of them moves. A second caller waits, and is
       overtaken then. Several move together or not at all, and none ever moves back.
    4. Locked checkpoints do not change until the transaction ends. They are locked in a fixed order, so that two
       callers do not deadlock; a batch that had to wait is compared with what the other transaction has committed.
    5. At most one generation of a projection is live, and of many instances that create the same number one succeeds.
       The others get `ConcurrencyConflict`, as does a transition from another state than the expected one.
    6. A recorded start is void as soon as the position moves; nothing need be cleared. To record one overtakes nobody,
       and is refused to a runner that was overtaken.
    7. Once a pause has committed, no batch of the paused generations commits. The first reason stays.
    8. Everything rolls back with the transaction that was passed in. `forget` deletes everything of one generation and
       nothing of another, and never a live one.
    """

    async def generations(
        self, projection: str | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Generation]:
        """The generations of a projection, or of all, by name and number."""

    async def create(
        self,
        db_tx: DatabaseTransaction,
        projection: str,
        number: int,
        *,
        version: int,
        partitions: int,
        state: GenerationState,
        position: int = 0,
        reason: str = "",
        tables: Sequence[str] = (),
    ) -> Generation:
        """Create a generation with its checkpoints, all at `position`, and the names of its tables.

        Raises `ConcurrencyConflict` if the number exists, or if it is to be live and another one is.
        """

    async def transition(
        self,
        db_tx: DatabaseTransaction,
        projection: str,
        number: int,
        *,
        expected: GenerationState,
        to: GenerationState,
    ) -> None:
        """Move a generation and its checkpoints to another state. For a switch, `lock` both generations, compare them,
        retire the live one, then make the other live.

        Raises `ConcurrencyConflict` if it is not in the `expected` state, or if it is to be live and another one is.
        """

    async def forget(self, db_tx: DatabaseTransaction, projection: str, number: int) -> None:
        """Delete a generation that is not live, with its checkpoints, parked streams and pauses; an unknown one is no
        error. Raises `ConcurrencyConflict` for a live one.
        """

    async def checkpoints(
        self, projection: str | None = None, generation: int | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Checkpoint]:
        """The checkpoints, by projection, generation and partition."""

    async def lock(
        self, db_tx: DatabaseTransaction, projection: str, generation: int | None = None, partition: int | None = None
    ) -> Sequence[Checkpoint]:
        """As `checkpoints`, and lock them until the transaction ends: none of them advances meanwhile."""

    async def advance(self, db_tx: DatabaseTransaction, moves: Sequence[Move]) -> Sequence[Checkpoint]:
        """Move checkpoints, all of them or none, in one statement; returns them as they are now, in the order given.

        To be called before anything else in a transaction. A move to the present position holds the checkpoint, too.
        Raises `ConcurrencyConflict` if one is not as expected, is retired, or would move back.
        """

    async def begin(
        self,
        db_tx: DatabaseTransaction,
        expected: Checkpoint,
        *,
        isolated_position: int = 0,
        isolated_attempts: int = 0,
    ) -> Checkpoint:
        """Record that a runner starts from here, or that it starts the event at `isolated_position` in isolation;
        `isolated_attempts` is how often, with this time. Returns the checkpoint. It overtakes nobody.

        To be committed before the work. Raises `ConcurrencyConflict` as `advance`.
        """

    async def park(self, db_tx: DatabaseTransaction, expected: Checkpoint, parked: ParkedStreamUpdate) -> Checkpoint:
        """Park a stream, or update a parked one; returns the checkpoint with its next revision. Raises
        `ConcurrencyConflict` as `advance`.
        """

    async def release(self, db_tx: DatabaseTransaction, expected: Checkpoint, stream: str) -> Checkpoint:
        """Release a stream if it is parked; returns the checkpoint with its next revision.

        The caller has applied, in this transaction, the skipped events through the position of the checkpoint. Raises
        `ConcurrencyConflict` as `advance`.
        """

    async def parked(
        self,
        projection: str | None = None,
        generation: int | None = None,
        partition: int | None = None,
        *,
        stream: str | None = None,
        limit: int = 1000,
        db_tx: DatabaseTransaction | None = None,
    ) -> Sequence[ParkedStream]:
        """Parked streams, by projection, generation and position; at most `limit`."""

    async def count_parked(self) -> Mapping[tuple[str, int], int]:
        """How many streams are parked, by projection and generation; those without any are left out."""

    async def pause(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS, *, reason: str, actor: str
    ) -> bool:
        """Pause a generation, or all: once this has committed, no batch of them commits. False if it was paused before;
        the first reason stays then.
        """

    async def resume(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS
    ) -> Pause | None:
        """End a pause; returns it, or None if there was none. A generation runs when neither it nor its projection is
        paused.
        """

    async def pauses(self, projection: str | None = None) -> Sequence[Pause]:
        """The pauses, by projection and generation."""


CHANGED: Final = Signal("projections-changed", leased=True)
"""A generation was begun, became live or was dropped, or a projection was paused or resumed."""
CHECKPOINTS: Final[Port[CheckpointStore]] = Port(
    "checkpoints",
    "checkpoints of projections",
    CheckpointStore,
    "freehold.conformance.checkpoints:CheckpointStoreConformance",
)


def checkpoint_conflict(expected: Checkpoint) -> ConcurrencyConflict:
    """The error for a checkpoint that has changed since it was read."""
    return ConcurrencyConflict(
        f"a checkpoint of '{expected.projection}', generation {expected.generation}, has changed since it was read",
        hint="another instance has taken over, or an operator has changed something: read it again",
    )

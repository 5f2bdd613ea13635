"""The checkpoint port: how far projections have come, in which generation. Pattern: imports the foundation and the
database port.

A projection's read model is built in **generations**, each with tables of its own. A generation has one **checkpoint**
a partition: everything through `position` has been applied, passed over for a parked stream, or does not concern it. A
building generation never passes the live one (the runner sees to it), so that no side effect falls between them: caught
up means equal positions.

`advance` comes **first** in a transaction. The instances of a projection share its partitions by leases, and a holder
may have lost its lease without knowing it, so that there are two at one checkpoint:

    t1  runner A reads events 101 to 150, and is frozen
    t2  runner B takes the lease over, reads 101 to 150, advances, writes their rows, commits
    t3  A continues with its batch

    checkpoint last:   A inserts the row of 101 and gets a unique violation: it takes 101 for poison and parks its
                       stream, although nothing is wrong with it
    checkpoint first:  A's `advance` raises `ConcurrencyConflict` before A has touched the read model; where B had not
                       committed yet, A waits for that

What is **begun** is written down before it is done. A process that finds the checkpoint at the position from which
another one had started knows that this one did not come back (`freehold.projection.crash_recovery` says what follows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict
from freehold.ports import Port

__all__ = [
    "ALL_GENERATIONS",
    "CHECKPOINTS",
    "PARKED_READ_MAX",
    "Checkpoint",
    "CheckpointStore",
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
    """Where a generation is in its life."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Generation:
    """One build of a read model. `version` is that of the code that builds it; `reason` says why, for people.

    `partitions` is 0 for an inline projection: it has no checkpoint, for it is never behind. `tables` are those that it
    was made with, by the names that readers use: what is dropped with it, whatever the code declares by then.
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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a partition of a generation has come, as it was seen.

    `handled` counts events that were applied, `failed` those that parked their stream, since the generation was made.
    `started_position` is the position from which a runner last recorded that it starts, `isolated_position` that of the
    event that was last started in isolation, `isolated_attempts` how many times it was.
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

    @property
    def interrupted(self) -> bool:
        """Whether a runner started from here and has not come any further."""
        return self.started_position == self.position or self.isolated_position > self.position

    def attempts_at(self, position: int) -> int:
        """How often the event at a position was started in isolation, as far as is known."""
        return self.isolated_attempts if self.isolated_position == position else 0


@dataclass(frozen=True, slots=True)
class Move:
    """A checkpoint as it was seen and where it is to go; the counts are added."""

    expected: Checkpoint
    position: int
    handled: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ParkedStreamUpdate:
    """A stream to park: from its event at `version` on, nothing of it is applied.

    `retry_seconds` is when to retry, None where it waits for an operator. `error` is the exception's type, `detail`
    where it was raised: never a payload. `started_attempts` is how often a retry was started since that error, 0
    once its outcome is known.
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
    """A parked stream. `due_seconds` is the time until the next attempt when it was read: 0 or less means due.

    Where `started_attempts` is not 0 it is being retried, or the process that retried it has crashed: `error` is that
    of before.
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
    """A projection that is paused until an operator resumes it; `generation` may be `ALL_GENERATIONS`."""

    projection: str
    generation: int
    reason: str
    actor: str
    paused_at: datetime


class CheckpointStore(Protocol):
    """The store of the progress of projections, beside the read model in the service's own database.

    An implementation keeps:

    1. A checkpoint moves in the transaction of what it stands for, by compare and set on its position, state and
       `revision` as they were seen. A runner that was overtaken gets `ConcurrencyConflict` and writes nothing.
    2. The revision moves with everything else that a runner goes by: a stream parked or released, a pause, the switch.
       So a runner that has not heard of it yet is refused in the same way, and nobody has to notify it.
    3. An advance holds its checkpoints until the commit, also where it moves none; who comes second waits and is then
       overtaken. Several move all together or not at all, and none ever moves back.
    4. Locked checkpoints stand still until the transaction ends. They are locked in a fixed order, so that two callers
       do not deadlock; a batch that had to wait is judged by what the other transaction has left.
    5. At most one generation of a projection is live, and of many instances that make the same number one does. The
       others get `ConcurrencyConflict`, as does a transition from another state than the one seen.
    6. What is begun is void as soon as the position moves, with nothing to clear: an advance does not touch it. A begin
       overtakes nobody, and is refused to a runner that was overtaken.
    7. Once a pause has committed, no batch of the generations that it is meant for commits. The first reason stays.
    8. Everything rolls back with the transaction that was passed in. `forget` deletes all that belongs to one
       generation and nothing of another, and never a live one.
    """

    async def generations(
        self, projection: str | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Generation]:
        """Generations of a projection, of all without one, by name and number."""

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
        """Make a generation with its checkpoints, all at `position`, and note which tables it has.

        Raises `ConcurrencyConflict` where the number is taken, or where it is to be live and another one is.
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
        """Move a generation to another state, its checkpoints with it. For a switch: `lock` both, compare, retire the
        one that is live, then make the other live.

        Raises `ConcurrencyConflict` where it is not in the state `seen`, or where it is to be live and another one is.
        """

    async def forget(self, db_tx: DatabaseTransaction, projection: str, number: int) -> None:
        """Delete a generation that is not live, with its checkpoints, parked streams and pauses; nothing where there is
        none. Raises `ConcurrencyConflict` for a live one.
        """

    async def checkpoints(
        self, projection: str | None = None, generation: int | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Checkpoint]:
        """Checkpoints as they stand, by projection, generation and partition."""

    async def lock(
        self, db_tx: DatabaseTransaction, projection: str, generation: int | None = None, partition: int | None = None
    ) -> Sequence[Checkpoint]:
        """The same, held until the transaction ends: nothing advances meanwhile. Locked in order, so that two who lock
        do not block each other for good.
        """

    async def advance(self, db_tx: DatabaseTransaction, moves: Sequence[Move]) -> Sequence[Checkpoint]:
        """Move checkpoints, all of them or none, in one statement; returns them as they are now, in the order given.

        To be called before anything else in a transaction. A move to where a checkpoint stands holds it all the same.
        Never moves one back. Raises `ConcurrencyConflict` where one is not as it was seen, or is retired.
        """

    async def begin(
        self,
        db_tx: DatabaseTransaction,
        expected: Checkpoint,
        *,
        isolated_position: int = 0,
        isolated_attempts: int = 0,
    ) -> Checkpoint:
        """Record that a runner starts from here, or starts the event at `isolated_position` in isolation, for the time
        that `isolated_attempts` counts; returns the checkpoint, which is otherwise as it was: nobody is overtaken by
        it.

        To be committed before that is done. Raises `ConcurrencyConflict` like `advance`.
        """

    async def park(self, db_tx: DatabaseTransaction, expected: Checkpoint, parked: ParkedStreamUpdate) -> Checkpoint:
        """Park a stream, or put another attempt or event in the place of what is known of it; returns the checkpoint
        with its next revision. Raises `ConcurrencyConflict` like `advance`.
        """

    async def release(self, db_tx: DatabaseTransaction, expected: Checkpoint, stream: str) -> Checkpoint:
        """Take a stream out of the parked ones, where it is among them; returns the checkpoint with its next revision.

        Whoever releases has applied in this transaction what was passed over, through the position of the checkpoint.
        Raises `ConcurrencyConflict` like `advance`.
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
        """Parked streams by projection, generation and position, `limit` at most."""

    async def count_parked(self) -> Mapping[tuple[str, int], int]:
        """How many streams are parked, by projection and generation; those without any are left out."""

    async def pause(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS, *, reason: str, actor: str
    ) -> bool:
        """Pause a generation, or all: once this has committed no batch of them commits. False where it was
        paused before; the first reason stays then.
        """

    async def resume(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS
    ) -> Pause | None:
        """End a pause; returns what it was, None where there was none. A projection runs when neither it nor the
        generation is paused.
        """

    async def pauses(self, projection: str | None = None) -> Sequence[Pause]:
        """What is paused, by projection and generation."""


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

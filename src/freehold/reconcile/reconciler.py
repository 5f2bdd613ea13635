"""The reconciler: compares a replica with its source, and tells drift from changes in transit. Pattern: imports the
foundation, the consistency token and its own package.

Each range of keys is compared by one digest, and row by row if the digests differ. A row that differs need not have
drifted: its event may be in transit. So it is confirmed:

1. Read the rows of the source, and publish a barrier after them.
2. Wait until the replica's service has reached the barrier.
3. Read the rows of the replica, and those of the source again.

If both are equal now, the event was in transit. If they differ although the source has not changed, all events that led
to its rows were handled, and the replica is wrong. If the source has changed meanwhile, confirm the row again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from freehold.clock import Clock
from freehold.consistency.token import ConsistencyToken
from freehold.crash_points import crash_point
from freehold.reconcile.dataset import Dataset, FullRow, RangeDigest
from freehold.reconcile.repair import ReplicaRepair
from freehold.reconcile.side import DatasetReader, DatasetSource

__all__ = ["Drift", "DriftKind", "Reconciler", "Reconciliation"]

_RANGE_ROWS = 2_000
_LEAF_ROWS = 250
_CONFIRM_KEYS = 200
_ROUNDS = 3

HasReached = Callable[[ConsistencyToken], Awaitable[bool]]
"""Waits, within its own time limit, until the replica's service has reached a barrier; False if it has not."""


class DriftKind(StrEnum):
    """How a replica's row is wrong."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Drift:
    """A wrong row: its key, and the names of the fields that differ, never their values."""

    key: str
    kind: DriftKind
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class Reconciliation:
    """The result of a comparison.

    in_flight     how many rows differed at first, and were right after the barrier.
    inconclusive  keys whose state is unknown: the replica's service did not reach the barrier in time, or the rows kept
                  changing.
    complete      False if the comparison ended early: later ranges were not compared.
    """

    dataset: str
    compared: int = 0
    ranges: int = 0
    ranges_differing: int = 0
    in_flight: int = 0
    drift: list[Drift] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    inconclusive: list[str] = field(default_factory=list)
    complete: bool = True
    seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the replica is equal to its source now: all was compared, and all drift was repaired."""
        return self.complete and not self.inconclusive and len(self.repaired) == len(self.drift)


class Reconciler:
    """Compares one replica with its source. It reads in pages, holds nothing open, and is cancellable."""

    def __init__(
        self,
        dataset: Dataset,
        source: DatasetSource,
        replica: DatasetReader,
        has_reached: HasReached,
        clock: Clock,
        *,
        repair: ReplicaRepair | None = None,
        drift_max: int = 10_000,
    ) -> None:
        self._dataset = dataset
        self._source = source
        self._replica = replica
        self._has_reached = has_reached
        self._clock = clock
        self._repair = repair
        self._drift_max = drift_max

    async def run(self) -> Reconciliation:
        """Compare everything, and repair drift if a repair was given. Raises what the sides raise.

        Stops early when more than `drift_max` rows are wrong, and repairs no more than these: then the replica is
        probably of another dataset. Also stops early when the replica's service does not reach a barrier.
        """
        started = self._clock.monotonic()
        found = Reconciliation(self._dataset.name)
        after: str | None = ""
        while after is not None and found.complete:
            right = await self._source.digest(after, None, _RANGE_ROWS)
            await self._range(right, found)
            after = right.through
        found.seconds = self._clock.monotonic() - started
        return found

    async def _range(self, right: RangeDigest, found: Reconciliation) -> None:
        found.ranges += 1
        found.compared += right.count
        if await self._agrees(right):
            return
        found.ranges_differing += 1
        suspects: list[str] = []
        async for keys in self._suspects(right):
            suspects += keys
            while len(suspects) >= _CONFIRM_KEYS and found.complete:
                await self._confirm(suspects[:_CONFIRM_KEYS], found)
                del suspects[:_CONFIRM_KEYS]
            if not found.complete:
                return
        await self._confirm(suspects, found)

    async def _agrees(self, right: RangeDigest) -> bool:
        """Whether the replica has the same rows in this range; the limit is one more, to detect an extra row."""
        own = await self._replica.digest(right.after, right.through, right.count + 1)
        return (own.count, own.digest) == (right.count, right.digest)

    async def _suspects(self, whole: RangeDigest) -> AsyncIterator[list[str]]:
        """Keys that differ: compare the range in parts, and row by row the parts that differ."""
        after: str | None = whole.after
        while after is not None:
            part = await self._source.digest(after, None, _LEAF_ROWS)
            end = part.through
            if end is None or (whole.through is not None and end >= whole.through):
                end = whole.through
                part = await self._source.digest(after, end, _RANGE_ROWS)
            if not await self._agrees(part):
                async for keys in self._differing(after, end):
                    yield keys
            after = end if end != whole.through else None

    async def _differing(self, after: str, through: str | None) -> AsyncIterator[list[str]]:
        """Compare row by row. Both pages end with the shorter one: one side may have far more rows than the other."""
        while True:
            sides = [await side.keys(after, through, _RANGE_ROWS) for side in (self._source, self._replica)]
            ends = [rows[-1].key for rows in sides if len(rows) >= _RANGE_ROWS]
            end = min(ends, default=through)
            right, own = ({row.key: row.digest for row in rows if end is None or row.key <= end} for rows in sides)
            yield sorted(key for key in right.keys() | own.keys() if right.get(key) != own.get(key))
            if end is None or not ends:
                return
            after = end

    async def _confirm(self, keys: Sequence[str], found: Reconciliation) -> None:
        for _ in range(_ROUNDS):
            if not keys:
                return
            before = _by_key(await self._source.rows(keys))
            crash_point("reconcile.before-barrier")
            if not await self._has_reached(await self._source.publish_barrier()):
                found.complete = False
                break
            crash_point("reconcile.barrier-reached")
            own = _by_key(await self._replica.rows(keys))
            right = _by_key(await self._source.rows(keys))
            wrong = [key for key in keys if own.get(key) != right.get(key)]
            found.in_flight += len(keys) - len(wrong)
            sure = [key for key in wrong if before.get(key) == right.get(key)]
            await self._report({key: (right.get(key), own.get(key)) for key in sure}, found)
            keys = [key for key in wrong if key not in set(sure)]
        found.inconclusive += keys

    async def _report(self, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]], found: Reconciliation) -> None:
        found.drift += [self._drift(key, right, own) for key, (right, own) in wrong.items()]
        if len(found.drift) > self._drift_max:
            found.complete = False
        elif self._repair is not None and wrong:
            found.repaired += await self._repair.repair(wrong)

    def _drift(self, key: str, right: FullRow | None, own: FullRow | None) -> Drift:
        if own is None:
            return Drift(key, DriftKind.MISSING)
        if right is None:
            return Drift(key, DriftKind.EXTRA)
        names = zip(self._dataset.fields, right[1:], own[1:], strict=True)
        return Drift(key, DriftKind.DIFFERENT, tuple(name for name, left, other in names if left != other))


def _by_key(rows: Sequence[FullRow]) -> dict[str, FullRow]:
    return {str(row[0]): row for row in rows}

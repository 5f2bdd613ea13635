"""Recovery from a runner that crashed: an event that crashes the process parks its stream as well.

Imports the foundation and its package. A runner sees an exception, but it cannot see a crash: a fault in a driver, out
of memory, `os._exit`, or a process that hangs until it is killed. The next process sees only what was recorded before.
So:

1. Before a runner reads after a checkpoint that it has taken over, it records that it starts from there
   (`Checkpoint.started_position`), in a small transaction of its own, once for each take-over. Later batches record
   nothing.
2. Any progress makes that record void without a write: it counts only for the position at which it was written.
3. If a runner takes over a checkpoint that is still at its `started_position`, the partition was `interrupted`. The
   runner then reads one event at a time, as many as a batch may have, and records each before it is handled in
   isolation (`isolated_position`, `isolated_attempts`).
4. Partitions that were not interrupted come first, in batches. An event that was being handled in isolation when a
   process crashed waits until these have reached the end of the events at the take-over. Otherwise a process that is
   killed for another reason, each time after some work, would be killed each time beside that same event.
5. An event that was started in isolation as often as `freehold.failures.CrashLimit` says, and never finished, is not
   retried: it parks its stream and waits for an operator, because each attempt costs a process.
6. An attempt that ended for a reason outside of the event (an outage of the database, a stop) is not counted. One that
   took too long, or met a conflict, is counted: in the end its stream is parked, and retried by policy.
7. A process handles one event at a time in isolation, so that a crash has one suspect.

An interruption alone parks nothing. A healthy event is parked only if it is in isolation each time that the process is
killed, so many times in a row; each event that finishes in between restarts the count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final
from weakref import WeakKeyDictionary

from freehold.projection.store import Checkpoint

__all__ = ["CrashRecovery", "isolation_lock"]

_LOCKS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()


def isolation_lock() -> asyncio.Lock:
    """The lock that is held while an event is handled that may crash the process: one for all projections."""
    return _LOCKS.setdefault(asyncio.get_running_loop(), asyncio.Lock())


class CrashRecovery:
    """The partitions held here that are processed one event at a time, and those that are marked as started.

    `events` is how many events are isolated after a checkpoint: as many as the batch of the runner that crashed had.
    """

    def __init__(self, events: int) -> None:
        self._events = events
        self._started: set[int] = set()
        self._left: dict[int, int] = {}

    @property
    def partitions(self) -> Collection[int]:
        """The partitions that are processed one event at a time."""
        return self._left.keys()

    def refresh(self, held: Iterable[Checkpoint]) -> list[int]:
        """Note the checkpoints that are held now; returns the partitions that were interrupted, which are isolated."""
        by_partition = {each.partition: each for each in held}
        self._started &= by_partition.keys()
        self._left = {partition: left for partition, left in self._left.items() if partition in by_partition}
        found = [p for p, each in sorted(by_partition.items()) if p not in self._started and each.interrupted]
        for partition in found:
            self.isolate(partition)
        return found

    def unmarked(self, checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
        """The checkpoints for which a start must be recorded first."""
        new = [each for each in checkpoints if each.partition not in self._started]
        return sorted(new, key=lambda each: each.partition)

    def mark(self, partitions: Iterable[int]) -> None:
        """Note that a start was recorded for these partitions."""
        self._started.update(partitions)

    def isolate(self, partition: int) -> None:
        """Process a partition one event at a time, for as many events as a batch has."""
        self._started.add(partition)
        self._left[partition] = self._events

    def advance(self, partition: int, *, end: bool) -> None:
        """Note that an event of an isolated partition is done, or that the `end` was reached: later events are new."""
        left = self._left.pop(partition) - 1
        if left > 0 and not end:
            self._left[partition] = left

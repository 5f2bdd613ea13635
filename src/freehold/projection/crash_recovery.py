"""Recovery from a runner that crashed: how an event that crashes the process parks its stream too.

Imports the foundation and its package. An exception is seen by the runner in which it is raised. What ends the process
(a crash in a driver, out of memory, `os._exit`), or has it hang until it is killed, is seen by nobody; all that can be
seen is what was recorded before. So:

1. Before a runner reads behind a checkpoint that it has taken over, it records that it starts from there
   (`Checkpoint.started_position`), in a small transaction of its own: once a take-over. Batches after it record
   nothing.
2. Any progress makes that void, without a write: it holds for the position that it was written at.
3. Whoever takes over and finds that a runner had started from where the checkpoint still is, finds the partition
   `interrupted`: it reads one event after the other, as many as a batch may hold, and records each before it is handled
   in isolation (`isolated_position`, `isolated_attempts`). Partitions that were not interrupted go first, and in
   batches. An event that was handled in isolation when a process crashed waits until they have come to where the events
   ended at the take-over: otherwise a process that is killed again and again after some work of others is killed each
   time beside that same event.
4. An event that was started in isolation as often as `freehold.failures.CrashLimit` says, and never passed, is not
   retried: it parks its stream, and waits for an operator, for each attempt costs a process.
5. An attempt that ended otherwise, and says nothing of the event (the database is away, the runner is stopped), is
   not counted. One that took too long, or was in somebody's way, counts: in the end it is parked, and retried by
   policy.
6. In a process one event at a time is handled in isolation, so that a crash has one suspect.

An interruption by itself parks nothing. A healthy event would have to be in progress in isolation each time that the
process is killed, so many times in a row; each event that is passed in between restarts the count.
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
    """What is held while an event is handled that may end the process: one lock for all projections of a process."""
    return _LOCKS.setdefault(asyncio.get_running_loop(), asyncio.Lock())


class CrashRecovery:
    """Which of the partitions held here are processed one event at a time, and which have been marked as started.

    `events` is how many events are isolated behind a checkpoint: as many as the batch of the runner that crashed.
    """

    def __init__(self, events: int) -> None:
        self._events = events
        self._started: set[int] = set()
        self._left: dict[int, int] = {}

    @property
    def partitions(self) -> Collection[int]:
        """Those that are processed one event at a time."""
        return self._left.keys()

    def refresh(self, held: Iterable[Checkpoint]) -> list[int]:
        """Take note of what is held now; returns the partitions that were found interrupted."""
        by_partition = {each.partition: each for each in held}
        self._started &= by_partition.keys()
        self._left = {partition: left for partition, left in self._left.items() if partition in by_partition}
        found = [p for p, each in sorted(by_partition.items()) if p not in self._started and each.interrupted]
        for partition in found:
            self.isolate(partition)
        return found

    def unmarked(self, checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
        """Those of which it has to be recorded first that a runner starts from them."""
        new = [each for each in checkpoints if each.partition not in self._started]
        return sorted(new, key=lambda each: each.partition)

    def mark(self, partitions: Iterable[int]) -> None:
        """That has been recorded."""
        self._started.update(partitions)

    def isolate(self, partition: int) -> None:
        """Process a partition one event at a time, whatever the reason."""
        self._started.add(partition)
        self._left[partition] = self._events

    def advance(self, partition: int, *, end: bool) -> None:
        """An event of an isolated partition is behind it, or the `end` has been reached: what follows is new."""
        left = self._left.pop(partition) - 1
        if left > 0 and not end:
            self._left[partition] = left

"""Going on behind a runner that did not come back: how an event that ends the process parks its stream too.

Imports the foundation and its package. An exception is seen by the runner in which it is raised. What ends the process
(a crash in a driver, out of memory, `os._exit`), or has it hang until it is killed, is seen by nobody; all that can be
seen is what was written down before. So:

1. Before a runner reads behind a checkpoint that it has taken over, it writes down that it goes on from there
   (`Checkpoint.begun`), in a small transaction of its own: once a take-over. Batches after it write nothing down.
2. Any progress makes that void, without a write: it holds for the position that it was written at.
3. Whoever takes over and finds that somebody had set out from where the checkpoint still stands, is in doubt: it reads
   one event after the other, as many as a batch may hold, and writes each down before it is handled by itself
   (`alone`, `attempts`). Partitions that are not in doubt go first, and in batches. An event that was under way by
   itself when a process ended waits until they have come to where the events ended at the take-over: otherwise a
   process that is killed again and again after some work of others is killed each time beside that same event.
4. An event that was begun by itself as often as `freehold.failures.CrashLimit` says, and never passed, is not tried
   again: it parks its stream, and waits for a person, for each attempt costs a process.
5. An attempt that ended otherwise, and says nothing of the event (the database is away, the runner is stopped), is
   taken back. One that took too long, or was in somebody's way, counts: in the end it is parked, and retried by policy.
6. In a process one event at a time is handled like that, so that an end has one suspect.

Doubt alone parks nothing. A healthy event would have to be under way by itself each time that the process is killed,
so many times in a row; each event that is passed in between begins the count anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final
from weakref import WeakKeyDictionary

from freehold.projection.store import Checkpoint

__all__ = ["CrashRecovery", "one_alone"]

_ONE_ALONE: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()


def one_alone() -> asyncio.Lock:
    """What is held while an event is handled that may end the process: one lock for all projections of a process."""
    return _ONE_ALONE.setdefault(asyncio.get_running_loop(), asyncio.Lock())


class CrashRecovery:
    """Which of the partitions held here are gone on with event by event, and which have been begun at all.

    `events` is how many events are in doubt behind a checkpoint: as many as the batch of whoever did not come back.
    """

    def __init__(self, events: int) -> None:
        self._events = events
        self._begun: set[int] = set()
        self._left: dict[int, int] = {}

    @property
    def partitions(self) -> Collection[int]:
        """Those in doubt."""
        return self._left.keys()

    def look(self, held: Iterable[Checkpoint]) -> list[int]:
        """Take note of what is held now; returns the partitions that have come to be in doubt."""
        by_partition = {each.partition: each for each in held}
        self._begun &= by_partition.keys()
        self._left = {partition: left for partition, left in self._left.items() if partition in by_partition}
        found = [p for p, each in sorted(by_partition.items()) if p not in self._begun and each.in_doubt]
        for partition in found:
            self.cast(partition)
        return found

    def to_begin(self, checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
        """Those of which it has to be written down first that somebody goes on from them."""
        new = [each for each in checkpoints if each.partition not in self._begun]
        return sorted(new, key=lambda each: each.partition)

    def begun(self, partitions: Iterable[int]) -> None:
        """That has been written down."""
        self._begun.update(partitions)

    def cast(self, partition: int) -> None:
        """Go on with a partition event by event, whatever the reason."""
        self._begun.add(partition)
        self._left[partition] = self._events

    def passed(self, partition: int, *, end: bool) -> None:
        """An event of a partition in doubt is behind it, or the `end` has been reached: what follows is new."""
        left = self._left.pop(partition) - 1
        if left > 0 and not end:
            self._left[partition] = left

"""The state of a transaction: whether it is open, how it ends, and what a rollback to a savepoint undoes. Foundation.

A database transaction has one `Life`. Everything that belongs to the transaction calls `check` before it does anything.
The states:

    open      statements run and messages are collected
    sealed    the commit has begun; both are refused
    ended     committed or rolled back; both are refused, and the error says when it ended

A misused transaction is doomed: its block continues, and the end of the block rolls back and raises. Messages that are
collected and not written when the block ends doom the transaction as well, so that none is lost silently.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn, Protocol

from freehold.errors import TransactionEnded, TransactionMisused

__all__ = ["Life", "LifeState", "Stake", "Writer"]


class LifeState(StrEnum):
    """The state of a transaction; after its end, how it ended."""

    OPEN = "open"
    COMMITTING = "being committed"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "ended with an outcome that is not known"
    BY_OWNER = "ended by its owner"
    CLOSED = "closed"


class Stake(Protocol):
    """A collection of pending writes of a transaction: a rollback to a savepoint restores its state of that time."""

    @property
    def left(self) -> bool:
        """Whether it contains pending writes."""

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state; it may be called several times."""


class Writer(Stake, Protocol):
    """Pending writes that the adapter collects, such as those of a session: written before all others at each write."""

    async def write(self) -> None:
        """Write the pending writes."""


_Restore = Callable[[], None]


class Life:
    """The state of one transaction. `block` names the block that ends it, for the texts of errors."""

    __slots__ = ("_block", "_doom", "_ended_at", "_savepoints", "_stakes", "state", "writers")

    def __init__(self, block: str = "the transaction") -> None:
        self.state = LifeState.OPEN
        self._block = block
        self._doom: TransactionMisused | None = None
        self._ended_at = 0.0
        self._stakes: list[Stake] = []
        self._savepoints: list[tuple[str, list[_Restore]]] = []
        self.writers: list[Writer] = []

    @property
    def is_open(self) -> bool:
        """Whether statements may run and messages may be collected."""
        return self.state is LifeState.OPEN

    @property
    def left(self) -> bool:
        """Whether there are pending writes."""
        return any(stake.left for stake in self._stakes)

    @property
    def rolled_back(self) -> bool:
        """Whether it was rolled back."""
        return self.state is LifeState.ROLLED_BACK

    @property
    def doomed(self) -> TransactionMisused | None:
        """The error for which its end will roll back; None where it will not."""
        return self._doom

    def check(self) -> None:
        """Raise `TransactionEnded` where the transaction has ended, or is being committed."""
        if self.state is not LifeState.OPEN:
            raise self.ended()

    def ended(self) -> TransactionEnded:
        """The error that says how and when it ended."""
        if self.state is LifeState.COMMITTING:
            return TransactionEnded(
                f"{self._block} is being committed", hint="finish everything in it before its block ends"
            )
        seconds = time.monotonic() - self._ended_at
        return TransactionEnded(
            f"{self._block} was {self.state.value} {seconds:.3f} s ago"
            if self.state is not LifeState.UNKNOWN
            else f"{self._block} {self.state.value}, {seconds:.3f} s ago",
            hint="use what belongs to a transaction inside its block only, and open another one for later work",
        )

    def doom(self, error: TransactionMisused) -> None:
        """Make the end roll back and raise; only the first error is kept."""
        if self._doom is None:
            self._doom = error

    def refuse(self, what: str, hint: str) -> NoReturn:
        """Doom the transaction because of a forbidden call (`what`), and raise `TransactionMisused`; after the end of
        the transaction raise `TransactionEnded`.
        """
        self.check()
        error = TransactionMisused(f"{what} inside a transaction that its own block ends", hint=hint)
        self.doom(error)
        raise error

    def watch(self, stake: Stake) -> None:
        """Add a collection of pending writes, which savepoints restore and the end checks."""
        self._stakes.append(stake)
        for _, restores in self._savepoints:
            restores.append(stake.remember())

    def add_writer(self, writer: Writer) -> None:
        """As `watch`, for pending writes that are written before all others."""
        self.watch(writer)
        self.writers.append(writer)

    def seal(self) -> None:
        """Begin the commit. Raises `TransactionMisused` if the transaction must be rolled back."""
        self.check()
        self.state = LifeState.COMMITTING  # set before `left` is read: another thread may be collecting just now
        if self._doom is None and self.left:
            self._doom = TransactionMisused(
                "messages or events were collected after the transaction's last write",
                hint="wait for every task that works in the transaction before its block ends",
            )
        if self._doom is not None:
            raise TransactionMisused(
                f"the transaction was rolled back: {self._doom.message}", hint=self._doom.hint
            ) from self._doom

    def end(self, how: LifeState) -> None:
        """Note the end; a second call has no effect."""
        if self.state in (LifeState.OPEN, LifeState.COMMITTING):
            self.state = how
            self._ended_at = time.monotonic()
            self._savepoints.clear()
            self._stakes.clear()
            self.writers.clear()

    def savepoint(self, name: str) -> None:
        """Note a new savepoint."""
        self._savepoints.append((name, [stake.remember() for stake in self._stakes]))

    def rolled_back_to(self, name: str) -> None:
        """Discard the pending writes collected since a savepoint. The savepoint stays."""
        at = self._find(name)
        if at is not None:
            for restore in self._savepoints[at][1]:
                restore()
            del self._savepoints[at + 1 :]

    def released(self, name: str) -> None:
        """Remove a savepoint and those inside it. The pending writes stay."""
        at = self._find(name)
        if at is not None:
            del self._savepoints[at:]

    def _find(self, name: str) -> int | None:
        return next((at for at in reversed(range(len(self._savepoints))) if self._savepoints[at][0] == name), None)

"""How long a transaction lives, what may be done in it, and what its savepoints take back. Foundation.

A database transaction has one `Life`. Everything that belongs to the transaction asks it before it does anything:
handles of the engine (`check`), and what collects messages (`collect`). The protocol:

    open      statements run and messages are collected
    sealed    the commit has begun; both are refused
    ended     committed or rolled back; both are refused, with when it ended

A transaction that was misused is doomed: it goes on for its block, and its end rolls back and raises. What was
collected and not written when the block ends dooms it as well, so that no message can be lost in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn, Protocol

from freehold.errors import TransactionEnded, TransactionMisused

__all__ = ["Life", "LifeState", "Stake", "Writer"]


class LifeState(StrEnum):
    """Where a transaction is; what has ended says how."""

    OPEN = "open"
    COMMITTING = "being committed"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "ended with an outcome that is not known"
    BY_OWNER = "ended by its owner"
    CLOSED = "closed"


class Stake(Protocol):
    """What collects for a transaction: a savepoint that is rolled back takes it back to what it was."""

    @property
    def left(self) -> bool:
        """Whether something was collected that is not written."""

    def remember(self) -> Callable[[], None]:
        """Return what brings back the state of now; it may be called several times."""


class Writer(Stake, Protocol):
    """A stake that the engine knows of, and not the transaction: it is written first at each write."""

    async def write(self) -> None:
        """Write what was collected."""


_Restore = Callable[[], None]


class Life:
    """One transaction's life. `block` names what ends it, for the texts of errors."""

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
        """Whether something was collected that is not written."""
        return any(stake.left for stake in self._stakes)

    @property
    def rolled_back(self) -> bool:
        """Whether it ended, and nothing of it stays."""
        return self.state is LifeState.ROLLED_BACK

    @property
    def doomed(self) -> TransactionMisused | None:
        """Why its end will roll back, where it will."""
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
            hint="use what belongs to a transaction inside its block only, and open another one for what comes later",
        )

    def doom(self, error: TransactionMisused) -> None:
        """Have the end roll back and raise; the first reason counts."""
        if self._doom is None:
            self._doom = error

    def refuse(self, what: str, hint: str) -> NoReturn:
        """Doom the transaction for what somebody tried in it, and raise. Raises `TransactionEnded` after its end."""
        self.check()
        error = TransactionMisused(f"{what} inside a transaction that its own block ends", hint=hint)
        self.doom(error)
        raise error

    def watch(self, stake: Stake) -> None:
        """Have savepoints and the end look at what collects for this transaction."""
        self._stakes.append(stake)
        for _, restores in self._savepoints:
            restores.append(stake.remember())

    def add_writer(self, writer: Writer) -> None:
        """The same, for what is written first at each write."""
        self.watch(writer)
        self.writers.append(writer)

    def seal(self) -> None:
        """Begin the end with a commit. Raises `TransactionMisused` where it must be a rollback."""
        self.check()
        self.state = LifeState.COMMITTING  # first, for what another thread collects: it looks at this afterwards
        if self._doom is None and self.left:
            self._doom = TransactionMisused(
                "messages or events were collected after the transaction's last write",
                hint="let every task end that works in the transaction before its block ends",
            )
        if self._doom is not None:
            raise TransactionMisused(
                f"the transaction was rolled back: {self._doom.message}", hint=self._doom.hint
            ) from self._doom

    def end(self, how: LifeState) -> None:
        """Note the end; the first one counts."""
        if self.state in (LifeState.OPEN, LifeState.COMMITTING):
            self.state = how
            self._ended_at = time.monotonic()
            self._savepoints.clear()
            self._stakes.clear()
            self.writers.clear()

    def savepoint(self, name: str) -> None:
        """Note a savepoint that was made."""
        self._savepoints.append((name, [stake.remember() for stake in self._stakes]))

    def rolled_back_to(self, name: str) -> None:
        """Take back what was collected since a savepoint, which stays."""
        at = self._find(name)
        if at is not None:
            for restore in self._savepoints[at][1]:
                restore()
            del self._savepoints[at + 1 :]

    def released(self, name: str) -> None:
        """Forget a savepoint and those inside it; what was collected stays."""
        at = self._find(name)
        if at is not None:
            del self._savepoints[at:]

    def _find(self, name: str) -> int | None:
        return next((at for at in reversed(range(len(self._savepoints))) if self._savepoints[at][0] == name), None)

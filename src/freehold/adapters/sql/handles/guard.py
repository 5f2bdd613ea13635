"""The guard of a transaction's statements: checks that it is open, runs one at a time, refuses its end. Imports the
foundation, the database port, and its sibling `control`.

Statements run one at a time, in the order of the calls: two tasks in one transaction wait for each other. The task
whose statement runs may start another one inside it, because SQLAlchemy does so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from freehold.adapters.sql.handles.control import Control, Verb, controls
from freehold.errors import TransactionMisused
from freehold.life import Life, LifeState
from freehold.sql import Row, SqlConnection

__all__ = ["ENDS_ITSELF", "Guard", "GuardedSql", "ended_inside"]

ENDS_ITSELF: Final = "the block's end commits, an exception rolls back; use a savepoint to roll back a part"


def ended_inside() -> TransactionMisused:
    """The error for a commit when the transaction that was begun is no longer open."""
    return TransactionMisused(
        "the transaction was ended inside its block, where Freehold could not refuse it; part of it may be committed",
        hint="leave commit and rollback to the block's end, also on the driver's connection",
    )


class Guard:
    """The guard of one database transaction.

    alive    says whether the engine's transaction is still open.
    watched  user code has a driver object, which can end the transaction: `alive` is called before each statement.
    """

    __slots__ = ("_alive", "_depth", "_loop", "_owner", "_waiting", "life", "watched")

    def __init__(self, life: Life, alive: Callable[[], bool] | None = None) -> None:
        self.life = life
        self.watched = False
        self._alive = alive
        self._loop = asyncio.get_running_loop()
        self._owner: asyncio.Task[Any] | None = None
        self._depth = 0
        self._waiting: deque[tuple[asyncio.Future[None], asyncio.Task[Any]]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a statement runs now."""
        return self._owner is not None

    def before(self, sql: str) -> Sequence[Control]:
        """Check a statement before it runs; returns its savepoint commands. Raises `TransactionEnded`,
        `TransactionMisused`.
        """
        self.check()
        found = controls(sql)
        if found:
            self.refuse_ends(found)
        return found

    def check(self) -> None:
        """Raise `TransactionEnded` after the end, and `TransactionMisused` where a driver object ended the transaction:
        the next statement would commit by itself.
        """
        if self.life.state is not LifeState.OPEN:
            raise self.life.ended()
        if self.watched and self._alive is not None and not self._alive():
            error = ended_inside()
            self.life.doom(error)
            self.life.end(LifeState.UNKNOWN)
            raise error

    def refuse_ends(self, found: Sequence[Control]) -> None:
        """Refuse statements that end the transaction or begin another one. Raises `TransactionMisused`."""
        for each in found:
            if each.verb is Verb.ENDS:
                self.life.refuse(f"{each.words} was tried", ENDS_ITSELF)

    def after(self, found: Sequence[Control]) -> None:
        """Note the savepoints that a statement made, released or rolled back to."""
        for each in found:
            match each.verb:
                case Verb.SAVEPOINT:
                    self.life.savepoint(each.savepoint)
                case Verb.ROLLBACK_TO:
                    self.life.rolled_back_to(each.savepoint)
                case Verb.RELEASE:
                    self.life.released(each.savepoint)
                case Verb.ENDS:
                    pass

    def failed(self) -> None:
        """Check the transaction after a failed statement. Some errors of SQLite roll back the whole transaction, and
        the next statement would commit by itself.
        """
        if self._alive is not None and self.life.is_open and not self._alive():
            self.life.doom(
                TransactionMisused(
                    "the engine rolled back the transaction when a statement failed",
                    hint="do not catch the statement's error inside the block",
                )
            )
            self.life.end(LifeState.ROLLED_BACK)

    def take(self) -> bool:
        """Take the turn where no other task has it; False: call `wait`.

        Raises `TransactionMisused` in another thread or event loop than that of the transaction.
        """
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if task is None or task.get_loop() is not self._loop:
            self._refuse_stranger()
        if self._owner is None or self._owner is task:
            self._owner = task
            self._depth += 1
            return True
        return False

    async def wait(self) -> None:
        """Wait for the turn. The wait is bounded, because the statements before have time limits.

        Raises `TransactionEnded` where the transaction ends meanwhile.
        """
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine always runs in one
            self._refuse_stranger()
        future: asyncio.Future[None] = self._loop.create_future()
        entry = (future, task)
        self._waiting.append(entry)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave()
            else:
                self._waiting.remove(entry)
            raise
        if not self.life.is_open:
            self.leave()
            raise self.life.ended()

    def leave(self) -> None:
        """Pass the turn to the task that has waited longest."""
        self._depth -= 1
        if self._depth:
            return
        self._owner = None
        while self._waiting:
            future, task = self._waiting.popleft()
            if not future.done():
                self._owner, self._depth = task, 1
                future.set_result(None)
                return

    async def settle(self, seconds: float) -> None:
        """Before the end, wait at most `seconds` for a statement of another task that is still running."""
        if self._owner is None:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        task = asyncio.current_task()
        if task is not None and task is not self._owner:
            self._waiting.append((future, task))
            await asyncio.wait({future}, timeout=seconds)
            if future.done():
                self.leave()

    def _refuse_stranger(self) -> NoReturn:
        error = TransactionMisused(
            "a transaction was used from another thread or event loop than the one that opened it",
            hint="await what it does in its own loop; asyncio.run_coroutine_threadsafe from a thread",
        )
        self.life.check()
        self.life.doom(error)
        raise error


class GuardedSql:
    """A connection for the statements of one block. Raises after the block's end."""

    # The same lines stand in each method: a shared method would cost one more coroutine for each statement.
    __slots__ = ("_guard", "_inner")

    def __init__(self, guard: Guard, inner: SqlConnection) -> None:
        self._guard = guard
        self._inner = inner

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows that it changed."""
        guard = self._guard
        found = guard.before(sql)
        if not guard.take():
            await guard.wait()
        try:
            count = await self._inner.execute(sql, parameters)
        except Exception:
            guard.failed()
            raise
        finally:
            guard.leave()
        if found:
            guard.after(found)
        return count

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        guard = self._guard
        found = guard.before(sql)
        if not guard.take():
            await guard.wait()
        try:
            rows = await self._inner.fetch(sql, parameters)
        except Exception:
            guard.failed()
            raise
        finally:
            guard.leave()
        if found:
            guard.after(found)
        return rows

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters."""
        guard = self._guard
        found = guard.before(sql)
        if not guard.take():
            await guard.wait()
        try:
            await self._inner.execute_many(sql, rows)
        except Exception:
            guard.failed()
            raise
        finally:
            guard.leave()
        if found:
            guard.after(found)

    def allow(self, seconds: float) -> None:
        """Set another time limit for the rest of this transaction, on an engine that has such a limit."""
        allow = getattr(self._inner, "allow", None)
        if allow is not None:
            allow(seconds)

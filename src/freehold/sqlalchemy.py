"""SQLAlchemy in a transaction: its connection and its sessions, with their types. Runtime: imports the transaction and
SQLAlchemy.

    from freehold.sqlalchemy import connection, run_sync, session

They belong to the transaction: its block commits or rolls back, and after its end they raise `TransactionEnded`. What
would end it (`commit`, `rollback`, `begin`) raises `TransactionMisused`; `begin_nested` makes savepoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Concatenate, NoReturn, ParamSpec, Self, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.interfaces import ORMOption

from freehold.errors import DeclarationError
from freehold.life import Life
from freehold.transaction import Transaction

__all__ = ["connection", "run_sync", "session"]

P = ParamSpec("P")
T = TypeVar("T")
_LIFE = "freehold.life"
_HINT = "leave it out: the transaction's block commits, an exception rolls back; begin_nested() takes a part back"


def connection(tx: Transaction) -> AsyncConnection:
    """SQLAlchemy's connection in this transaction.

    Raises `DeclarationError` on a database that is not reached through SQLAlchemy, and where the transaction is not one
    of Freehold's own (`Outbox` and others join yours: use what you joined it with); `TransactionEnded`.
    """
    native = tx.connection
    if not isinstance(native, AsyncConnection):
        raise DeclarationError(
            f"this transaction works with a {type(native).__name__}, not with a connection of SQLAlchemy's",
            hint="use tx.connection",
        )
    return native


def session(tx: Transaction) -> AsyncSession:
    """The session of this transaction: one for each, so that an object that was loaded once is the same everywhere.

    What was added to it is flushed before the commit, also where nobody called `flush`; so it is with any session that
    is bound to `connection(tx)`. Nothing is expired by it: objects can be read afterwards. `async with session(tx)`
    flushes at the end of its block, and drops what is not flushed where that raises. Raises as `connection` does.
    """
    return tx.staging.companion(AsyncSession, lambda: _open(tx), _flushed_before, left=_never, lasting=True)


async def run_sync(tx: Transaction, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call code that is written for a synchronous `Session`, with one in this transaction: the same as `session(tx)`.

    It runs in the event loop's thread, and other tasks go on where it waits for the database. Raises as `connection`
    does.
    """
    return await session(tx).run_sync(work, *args, **kwargs)


def _open(tx: Transaction) -> AsyncSession:
    return _TransactionSession(
        bind=connection(tx),
        expire_on_commit=False,
        join_transaction_mode="control_fully",
        sync_session_class=_SyncSession,
        info={_LIFE: tx.db_tx.life},
    )


async def _flushed_before(_opened: AsyncSession) -> None:
    """Nothing: sessions on the transaction's connection are flushed before what the patterns have collected."""


def _never(_opened: AsyncSession) -> bool:
    return False


class _SyncSession(Session):
    """A session that ends nothing but its savepoints."""

    @property
    def _life(self) -> Life:
        found: Life = self.info[_LIFE]
        return found

    def begin(self, nested: bool = False) -> SessionTransaction:  # noqa: FBT001, FBT002 - SQLAlchemy's own
        if not nested:
            self._refuse("begin()")
        self._life.check()
        return super().begin(nested=True)

    def commit(self) -> None:
        self._refuse("commit()")

    def rollback(self) -> None:
        if not self._life.rolled_back:
            self._refuse("rollback()")

    def prepare(self) -> None:
        self._refuse("prepare()")

    def close(self) -> None:
        """Write what is pending, and let go of every object."""
        self._flush_pending()
        super().close()

    def reset(self) -> None:
        """The same."""
        self._flush_pending()
        super().reset()

    def invalidate(self) -> None:
        self._refuse("invalidate()")

    def flush(self, objects: Sequence[object] | None = None) -> None:
        self._life.check()
        super().flush(objects)

    def _flush_pending(self) -> None:
        if self.new or self.deleted or self.dirty:
            self.flush()

    def drop(self) -> None:
        """Let go of every object, and of what is pending."""
        super().close()

    def add(self, instance: object, *, _warn: bool = True) -> None:
        self._life.check()
        super().add(instance, _warn=_warn)

    def add_all(self, instances: Iterable[object]) -> None:
        self._life.check()
        super().add_all(instances)

    def delete(self, instance: object) -> None:
        self._life.check()
        super().delete(instance)

    def merge(self, instance: T, *, load: bool = True, options: Sequence[ORMOption] | None = None) -> T:
        self._life.check()
        return super().merge(instance, load=load, options=options)

    def _refuse(self, what: str) -> NoReturn:
        self._life.refuse(f"{what} of the session was called", _HINT)


class _TransactionSession(AsyncSession):
    """What `session` gives."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self.new or self.deleted or self.dirty):
            await self.flush()
        elif kind is not None and isinstance(self.sync_session, _SyncSession):
            self.sync_session.drop()

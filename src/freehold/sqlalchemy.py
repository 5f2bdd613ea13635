"""SQLAlchemy in a transaction: its connection and its sessions, with their types. Runtime: imports the transaction and
SQLAlchemy.

    from freehold.sqlalchemy import connection, run_sync, session

They belong to the transaction: its block commits or rolls back, and after its end they raise `TransactionEnded`. Calls
that would end it (`commit`, `rollback`, `begin`) raise `TransactionMisused`; `begin_nested` makes savepoints.
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
_HINT = "leave it out: the transaction's block commits, an exception rolls back; begin_nested() makes a savepoint"


def connection(tx: Transaction) -> AsyncConnection:
    """SQLAlchemy's connection in this transaction.

    Raises `DeclarationError` on a database that is not reached through SQLAlchemy, and for a transaction that Freehold
    joined (by `Outbox`, for example): use your own connection there. Raises `TransactionEnded` after its end.
    """
    native = tx.connection
    if not isinstance(native, AsyncConnection):
        raise DeclarationError(
            f"the connection of this transaction is a {type(native).__name__}, not a connection of SQLAlchemy",
            hint="use tx.connection",
        )
    return native


def session(tx: Transaction) -> AsyncSession:
    """The session of this transaction: always the same one, so that an object is loaded once.

    It is flushed before the commit, also if `flush` is not called; so is any session that is bound to `connection(tx)`.
    The commit expires nothing: objects can be read afterwards. `async with session(tx)` flushes at the end of its
    block; if the block raises, it discards what is not flushed. Raises as `connection` does.
    """
    return tx.staging.companion(AsyncSession, lambda: _open(tx), _flushed_before, left=_never, lasting=True)


async def run_sync(tx: Transaction, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call code that is written for a synchronous `Session`, with the one of `session(tx)`.

    It runs in the event loop's thread; other tasks run while it waits for the database. Raises as `connection` does.
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
    """Do nothing: the adapter flushes sessions on the connection before the patterns write (`life.Writer`)."""


def _never(_opened: AsyncSession) -> bool:
    return False


class _SyncSession(Session):
    """A session that ends only its own savepoints, never the transaction."""

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
        """Flush pending changes, and detach all objects."""
        self._flush_pending()
        super().close()

    def reset(self) -> None:
        """As `close`."""
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
        """Detach all objects, and discard pending changes."""
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
    """The session that `session` returns."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self.new or self.deleted or self.dirty):
            await self.flush()
        elif kind is not None and isinstance(self.sync_session, _SyncSession):
            self.sync_session.drop()

"""SQLAlchemy's connection, made for one transaction. Imports SQLAlchemy, and its siblings `control`, `guard` and
`lent`.

The driver's connection is used for many transactions, so no object that SQLAlchemy or user code holds may work after
its transaction. Three objects are made for each transaction whose connection is requested:

    LentConnection         is, for SQLAlchemy, the connection of its pool. It refuses everything that ends a transaction
                           or returns a connection (`lent`).
    TransactionConnection  SQLAlchemy's `Connection` on it. Each statement passes the guard; savepoints are noted;
                           commit, rollback and close are refused. A session that joins gets a transaction that refuses
                           them too.
    TransactionHandle      the `AsyncConnection` on that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

from sqlalchemy.engine import Connection, RootTransaction
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.ddl import DDL
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause, TextClause
from sqlalchemy.sql.selectable import TextualSelect
from sqlalchemy.util import await_only

from freehold.adapters.sql.handles.control import Control, Verb, controls, savepoint_name
from freehold.adapters.sql.handles.guard import ENDS_ITSELF
from freehold.adapters.sql.handles.lent import Lender, LentConnection
from freehold.errors import TransactionMisused
from freehold.life import LifeState

__all__ = ["TransactionConnection", "TransactionHandle", "lend"]


def lend(db_tx: Lender) -> TransactionHandle:
    """Make SQLAlchemy's connection for a database transaction."""
    holder = db_tx.holder
    if holder.sync_connection is None:  # pragma: no cover - a pooled connection is started
        msg = "the pooled connection is not started"
        raise RuntimeError(msg)
    lent = LentConnection(db_tx, holder.sync_connection)
    return TransactionHandle(holder.engine, TransactionConnection(db_tx, lent))


class _JoinedTransaction(RootTransaction):
    """SQLAlchemy's transaction object of a `TransactionConnection`. Only the end of Freehold's block ends it."""

    __slots__ = ()

    def __init__(self, connection: TransactionConnection) -> None:  # SQLAlchemy would begin one here
        self.connection = connection
        self.is_active = True

    @property
    def _transaction_connection(self) -> TransactionConnection:
        return cast("TransactionConnection", self.connection)

    def commit(self) -> None:
        """Refused."""
        self._transaction_connection.refuse("commit() of a session or connection was called")

    def rollback(self) -> None:
        """Refused: dooms the transaction, which rolls back at the block's end.

        A session whose flush fails calls this while the flush's error propagates. Then it raises nothing, so that the
        caller sees that error.
        """
        life = self._transaction_connection.guard.life
        failure = sys.exc_info()[1]
        if life.state is LifeState.ROLLED_BACK:
            return
        if failure is None:
            self._transaction_connection.refuse("rollback() of a session or connection was called")
        elif life.is_open:
            error = TransactionMisused(
                f"a session rolled back after {type(failure).__name__}, which rolls back the whole transaction",
                hint="use begin_nested() around statements that may fail",
            )
            error.__cause__ = failure
            life.doom(error)

    def close(self) -> None:
        """Do nothing: a closed session leaves a transaction open that it has joined."""

    def _rollback_can_be_called(self) -> bool:
        return False


class TransactionConnection(Connection):
    """SQLAlchemy's connection in one database transaction."""

    def __init__(self, db_tx: Lender, lent: LentConnection) -> None:
        self._db_tx = db_tx
        self.guard = db_tx.guard
        super().__init__(db_tx.holder.engine.sync_engine, connection=lent, _allow_revalidate=False)
        self._transaction = _JoinedTransaction(self)
        self._joining = False

    @property
    def db_tx(self) -> Lender:
        """The database transaction that it belongs to."""
        return self._db_tx

    def join(self, session: Session) -> None:
        """Flush this session before the commit. Raises `TransactionEnded`."""
        self.guard.life.check()
        self._db_tx.join(session)

    def refuse(self, what: str) -> NoReturn:
        """Doom the transaction and raise `TransactionMisused`; after its end, `TransactionEnded`."""
        self.guard.life.refuse(what, ENDS_ITSELF)

    @property
    def connection(self) -> PoolProxiedConnection:
        """The connection below, for SQLAlchemy one of its pool. Raises `TransactionEnded`."""
        self.guard.life.check()
        return super().connection

    @property
    def closed(self) -> bool:
        """True once the transaction has ended."""
        return not self.guard.life.is_open or super().closed

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """As SQLAlchemy's; waits for other statements of the transaction. Raises `TransactionEnded`,
        `TransactionMisused`.
        """
        found = _controls_of(statement)
        return self._in_turn(
            found,
            lambda: super(TransactionConnection, self).execute(
                statement, parameters, execution_options=execution_options
            ),
        )

    def exec_driver_sql(self, statement: str, parameters: Any = None, execution_options: Any = None) -> Any:
        """As SQLAlchemy's; waits for other statements of the transaction. Raises `TransactionEnded`,
        `TransactionMisused`.
        """
        run = super().exec_driver_sql
        return self._in_turn(controls(statement), lambda: run(statement, parameters, execution_options))

    def _in_turn(self, found: Sequence[Control], work: Callable[[], Any]) -> Any:
        guard = self.guard
        guard.check()
        if found:
            guard.refuse_ends(found)
        if not guard.take():
            await_only(guard.wait())
        try:
            result = work()
        except Exception:
            guard.failed()
            raise
        finally:
            guard.leave()
        if found:
            guard.after(found)
        return result

    def begin(self) -> RootTransaction:
        """The open transaction; it refuses commit and rollback. Raises `TransactionEnded`."""
        self.guard.life.check()
        return cast("RootTransaction", self._transaction)

    def in_transaction(self) -> bool:
        """Whether the transaction is open. False to a session that joins (`joining`)."""
        return self.guard.life.is_open and not self._joining

    @contextmanager
    def joining(self) -> Iterator[None]:
        """Within the block, a session that joins does not see the open transaction, and begins one: it gets this one,
        which refuses its commit. Of a transaction that it sees, a session would ignore its own commit in silence.
        """
        self._joining = True
        try:
            yield
        finally:
            self._joining = False

    def begin_twophase(self, xid: Any = None) -> NoReturn:
        """Refused."""
        self.refuse("begin_twophase() was called")

    def commit(self) -> None:
        """Refused."""
        self.refuse("commit() of the connection was called")

    def rollback(self) -> None:
        """Refused; does nothing where the transaction was rolled back already."""
        if self.guard.life.state is not LifeState.ROLLED_BACK:
            self.refuse("rollback() of the connection was called")

    def close(self) -> None:
        """Refused before the end; does nothing after it."""
        if self.guard.life.is_open:
            self.refuse("close() of the connection was called")

    def detach(self) -> None:
        """Refused."""
        self.refuse("detach() of the connection was called")

    def invalidate(self, exception: BaseException | None = None) -> None:
        """Refused to users. SQLAlchemy calls it with the error that made the connection unusable."""
        if exception is None:
            self.refuse("invalidate() of the connection was called")
        if self.guard.life.is_open:
            super().invalidate(exception)

    def execution_options(self, **opt: Any) -> Connection:
        """As SQLAlchemy's; refused for options that change the isolation level."""
        for name in ("isolation_level", "postgresql_readonly", "postgresql_deferrable"):
            if name in opt:
                self.refuse(f"execution_options({name}=...) was called")
        return super().execution_options(**opt)

    def _begin_impl(self, transaction: RootTransaction) -> None:
        """Do nothing: Freehold has executed BEGIN."""

    def _commit_impl(self) -> None:
        """Do nothing: Freehold executes COMMIT."""

    def _rollback_impl(self) -> None:
        """Do nothing: Freehold executes ROLLBACK."""


class TransactionHandle(AsyncConnection):
    """SQLAlchemy's `AsyncConnection` in one database transaction."""

    __slots__ = ()

    @property
    def db_tx(self) -> Lender:
        """The database transaction that it belongs to."""
        return self._own.db_tx

    @property
    def _own(self) -> TransactionConnection:
        return cast("TransactionConnection", self.sync_connection)

    def begin(self) -> AsyncTransaction:
        """Refused: the end of that transaction would commit."""
        self._own.refuse("begin() of the connection was called")

    def in_transaction(self) -> bool:
        """Whether the transaction is open."""
        return self._own.guard.life.is_open

    async def get_raw_connection(self) -> PoolProxiedConnection:
        """The connection below SQLAlchemy. Raises `TransactionEnded`.

        From here on user code can reach the driver. So the commit checks that the transaction is still the same, and
        the connection is closed afterwards: no driver object works in a later transaction.
        """
        self._own.guard.life.check()
        await self._own.db_tx.hand_out()
        return await super().get_raw_connection()


def _controls_of(statement: Any) -> Sequence[Control]:
    find = _FINDERS.get(type(statement))
    if find is None:
        find = next((_FINDERS[kind] for kind in type(statement).__mro__ if kind in _FINDERS), _nothing)
        _FINDERS[type(statement)] = find
    return find(statement)


def _nothing(_statement: Any) -> Sequence[Control]:
    return ()


_FINDERS: dict[type[Any], Callable[[Any], Sequence[Control]]] = {
    TextClause: lambda clause: controls(clause.text),
    TextualSelect: lambda clause: controls(str(clause.element)),
    DDL: lambda clause: controls(clause.statement),
    SavepointClause: lambda clause: (Control(Verb.SAVEPOINT, "SAVEPOINT", savepoint_name(clause.ident)),),
    RollbackToSavepointClause: lambda clause: (Control(Verb.ROLLBACK_TO, "ROLLBACK TO", savepoint_name(clause.ident)),),
    ReleaseSavepointClause: lambda clause: (Control(Verb.RELEASE, "RELEASE", savepoint_name(clause.ident)),),
}

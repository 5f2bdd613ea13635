"""Transactions that the user ends: how long they live, as far as that can be seen. Imports SQLAlchemy, the database
port and the foundation.

Freehold is told nothing of their end. It looks, before anything is collected, whether the transaction is still the one
that was joined. A session or connection of SQLAlchemy also tells before it commits: what was collected and not written
makes that commit fail, instead of being lost in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from freehold.errors import TransactionEnded, TransactionMisused
from freehold.life import Life, LifeState
from freehold.sql import SqlConnection

__all__ = ["EnlistedTransaction", "enlisted_connection", "enlisted_session", "foreign", "once_in_transaction"]


class _ForeignLife(Life):
    """The life of a transaction that the user ends, as far as it can be seen."""

    __slots__ = ("_seen_open",)

    def __init__(self, seen_open: Callable[[], bool]) -> None:
        super().__init__("the enlisted transaction")
        self._seen_open = seen_open

    def check(self) -> None:
        """Raise `TransactionEnded` where its owner has ended it."""
        if self.state is LifeState.OPEN and not self._seen_open():
            self.end(LifeState.BY_OWNER)
        super().check()

    def ended(self) -> TransactionEnded:
        """The owner's commit or rollback is not told apart."""
        return TransactionEnded(
            "the enlisted transaction was ended by its owner", hint="enlist the next transaction again"
        )


@dataclass(frozen=True, slots=True)
class EnlistedTransaction:
    """A database transaction that the user ends."""

    native: Any
    sql: SqlConnection
    life: Life
    owned: bool = False


def foreign(native: Any, sql: SqlConnection, seen_open: Callable[[], bool]) -> EnlistedTransaction:
    """Join a transaction; `seen_open` says whether it is still the one that was joined."""
    return EnlistedTransaction(native, sql, _ForeignLife(seen_open))


def once_in_transaction(in_transaction: Callable[[], bool]) -> Callable[[], bool]:
    """Whether a driver's connection is still in the transaction that it was seen in; before that it may begin one."""
    seen = False

    def is_open() -> bool:
        nonlocal seen
        now = in_transaction()
        seen = seen or now
        return now or not seen

    return is_open


def enlisted_session(session: AsyncSession, sql: SqlConnection) -> EnlistedTransaction:
    """Join a session: its transaction is the root that it has now, or begins next."""
    sync = session.sync_session
    db_tx = foreign(session, sql, _still(sync.get_transaction))
    _listen_to_sessions()
    _lives.setdefault(sync, []).append(db_tx.life)
    return db_tx


def enlisted_connection(connection: AsyncConnection, sql: SqlConnection) -> EnlistedTransaction:
    """Join a connection, likewise."""
    sync = connection.sync_connection
    if sync is None:  # pragma: no cover - looked at before
        return foreign(connection, sql, lambda: False)
    db_tx = foreign(connection, sql, _still(sync.get_transaction))
    if sync not in _lives:
        event.listen(sync, "commit", _connection_commits)
        event.listen(sync, "rollback", _connection_rolls_back)
    _lives.setdefault(sync, []).append(db_tx.life)
    return db_tx


def _still(current: Callable[[], object | None]) -> Callable[[], bool]:
    seen = current()

    def is_open() -> bool:
        nonlocal seen
        now = current()
        if seen is None:
            seen = now
        return now is seen

    return is_open


_lives: WeakKeyDictionary[Any, list[Life]] = WeakKeyDictionary()
"""What has joined a session or connection in its present transaction; emptied by its end."""


def _listen_to_sessions() -> None:
    """Once for the process: to listen to each session costs more than the question whether it was joined."""
    if event.contains(Session, "before_commit", _before_session_commits):
        return
    event.listen(Session, "before_commit", _before_session_commits)
    event.listen(Session, "after_transaction_create", _savepoint_begins)
    event.listen(Session, "after_rollback", _rolls_back)
    event.listen(Session, "after_transaction_end", _transaction_ends)


def _before_session_commits(session: Session) -> None:
    if not session.in_nested_transaction():
        _before_commit(session)


def _before_commit(target: Session | Connection) -> None:
    for life in _lives.get(target, ()):
        if life.is_open and life.left:
            raise TransactionMisused(
                "messages or events were collected in an enlisted transaction after its last write",
                hint="await tx.write() before the commit",
            )


def _connection_commits(connection: Connection) -> None:
    _before_commit(connection)
    _connection_rolls_back(connection)


def _connection_rolls_back(connection: Connection) -> None:
    for life in _lives.get(connection, ()):
        life.end(LifeState.BY_OWNER)
    _lives.get(connection, []).clear()


def _savepoint_begins(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        for life in _lives.get(session, ()):
            life.savepoint(f"session {id(transaction)}")


def _rolls_back(session: Session) -> None:
    transaction = session.get_nested_transaction()
    if transaction is not None:
        for life in _lives.get(session, ()):
            life.rolled_back_to(f"session {id(transaction)}")


def _transaction_ends(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        for life in _lives.get(session, ()):
            life.released(f"session {id(transaction)}")
    elif transaction.parent is None:
        for life in _lives.get(session, ()):
            life.end(LifeState.BY_OWNER)
        _lives.get(session, []).clear()

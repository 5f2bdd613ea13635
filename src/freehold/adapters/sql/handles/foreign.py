"""Enlisted transactions: the user ends them. Imports SQLAlchemy, the database port and the foundation.

Freehold does not control their end. Before it collects a message it checks that the transaction is still the one that
was enlisted. SQLAlchemy's sessions and connections also report a commit before it happens: where collected messages
are not written yet, that commit fails, so that they are not lost in silence.
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
    """The life of a transaction that the user ends. `seen_open` says whether it is still open."""

    __slots__ = ("_seen_open",)

    def __init__(self, seen_open: Callable[[], bool]) -> None:
        super().__init__("the enlisted transaction")
        self._seen_open = seen_open

    def check(self) -> None:
        """Raise `TransactionEnded` where the user has ended it."""
        if self.state is LifeState.OPEN and not self._seen_open():
            self.end(LifeState.BY_OWNER)
        super().check()

    def ended(self) -> TransactionEnded:
        """The error after the end; a commit and a rollback by the user look the same here."""
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
    """Enlist in a transaction; `seen_open` says whether it is still the one that was enlisted."""
    return EnlistedTransaction(native, sql, _ForeignLife(seen_open))


def once_in_transaction(in_transaction: Callable[[], bool]) -> Callable[[], bool]:
    """A function that returns False once a driver's connection has left the transaction that it was first seen in.

    It returns True before: a connection without a transaction may begin one.
    """
    seen = False

    def is_open() -> bool:
        nonlocal seen
        now = in_transaction()
        seen = seen or now
        return now or not seen

    return is_open


def enlisted_session(session: AsyncSession, sql: SqlConnection) -> EnlistedTransaction:
    """Enlist in a session's root transaction: the present one, or else the next one that it begins."""
    sync = session.sync_session
    db_tx = foreign(session, sql, _still(sync.get_transaction))
    _listen_to_sessions()
    _lives.setdefault(sync, []).append(db_tx.life)
    return db_tx


def enlisted_connection(connection: AsyncConnection, sql: SqlConnection) -> EnlistedTransaction:
    """Enlist in a connection's transaction: the present one, or else the next one that it begins."""
    sync = connection.sync_connection
    if sync is None:  # pragma: no cover - the caller has checked it
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
"""The enlisted lives of each session or connection in its present transaction; emptied at its end."""


def _listen_to_sessions() -> None:
    """Register the listeners, once for all sessions of the process: one listener for each session would cost more."""
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

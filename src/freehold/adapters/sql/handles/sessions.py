"""ORM sessions on the connection of a database transaction. Imports SQLAlchemy, and its sibling `connection`.

A session writes nothing until it flushes, and makes the savepoint of `begin_nested()` only at the first statement
inside. Both are too late in a transaction that Freehold commits and in which messages are collected. So Freehold
listens to the beginning of each session transaction in the process. For a session that is bound to the connection of a
database transaction:

1. Its pending changes are flushed before the commit.
2. Its savepoints are made at once.
3. It joins the database transaction at once, and its own commit is refused. A session that joins a transaction in
   SQLAlchemy's usual way would ignore its own commit in silence.

A session that works in a savepoint of its own (by its `join_transaction_mode`, or because the connection has an open
savepoint) does so as SQLAlchemy documents, and may commit that savepoint.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import greenlet_spawn

from freehold.adapters.sql.handles.connection import TransactionConnection

__all__ = ["JoinedSessions", "listen"]


class JoinedSessions:
    """The sessions of one database transaction, referenced until its end: a session that user code no longer references
    may have pending changes.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}

    @property
    def left(self) -> bool:
        """Whether there are changes that are not flushed."""
        return any(session.new or session.deleted or session.dirty for session in self._sessions.values())

    def join(self, session: Session) -> None:
        """Add a session."""
        self._sessions[id(session)] = session

    async def write(self) -> None:
        """Flush the pending changes."""
        for session in tuple(self._sessions.values()):
            if session.new or session.deleted or session.dirty:
                await greenlet_spawn(session.flush)

    def remember(self) -> Callable[[], None]:
        """Return a function that does nothing: a session restores its own state after a rollback to a savepoint."""
        return _nothing


def _nothing() -> None:
    """Do nothing."""


def listen() -> None:
    """Register the listener, once for the process."""
    if not event.contains(Session, "after_transaction_create", _began):
        event.listen(Session, "after_transaction_create", _began)


def _began(session: Session, transaction: SessionTransaction) -> None:
    bind = session.bind
    if not isinstance(bind, TransactionConnection):
        return
    bind.join(session)
    if transaction.nested:
        session.connection()
    elif not _works_in_a_savepoint(session, bind):
        with bind.joining():
            session.connection()


def _works_in_a_savepoint(session: Session, bind: TransactionConnection) -> bool:
    mode = session.join_transaction_mode
    return mode == "create_savepoint" or (mode == "conditional_savepoint" and bind.in_nested_transaction())

"""ORM sessions that work on a database transaction's connection. Imports SQLAlchemy, and its sibling `connection`.

A session says nothing to its connection until it flushes, and makes a savepoint only when the first statement comes
inside `begin_nested()`. Both are too late for a transaction that somebody else commits, and that messages are collected
in. So Freehold listens to the beginning of every session's transaction in the process, and looks at those alone whose
bind is a connection of a database transaction: what is pending in them is flushed before the commit, and their
savepoints are made at once. They join its transaction at once too, in a way in which a commit of theirs is refused:
joining one that it finds, a session would take no notice of its own commit. A session that is to work in a savepoint of
its own, by its `join_transaction_mode` or because the connection has one open, does so as SQLAlchemy says, and may
commit that.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import greenlet_spawn

from freehold.adapters.sql.handles.connection import TransactionConnection

__all__ = ["JoinedSessions", "listen"]


class JoinedSessions:
    """The sessions of one database transaction. Held until its end: one that nobody else holds may have something
    pending.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}

    @property
    def left(self) -> bool:
        """Whether something is not flushed."""
        return any(session.new or session.deleted or session.dirty for session in self._sessions.values())

    def join(self, session: Session) -> None:
        """Flush this one too."""
        self._sessions[id(session)] = session

    async def write(self) -> None:
        """Flush what is pending."""
        for session in tuple(self._sessions.values()):
            if session.new or session.deleted or session.dirty:
                await greenlet_spawn(session.flush)

    def remember(self) -> Callable[[], None]:
        """Nothing: a session has savepoints of its own."""
        return _nothing


def _nothing() -> None:
    """What a session does not need."""


def listen() -> None:
    """Begin to listen; once for the process."""
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

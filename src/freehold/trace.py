"""The search for a message, a key, or everything with one correlation id: the query, and the results of a pattern.
Port: imports the foundation and the context; knows no pattern.

Ids and keys of messages are inside of their documents, without an index. So a pattern reads at most `ROWS_MAX` rows of
a table, oldest first, and a note says where there are more. These tables are normally almost empty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.errors import CodecError
from freehold.messages import Envelope, decode_envelope
from freehold.ports import Port

__all__ = ["ROWS_MAX", "Trace", "TraceQuery", "Traced", "read_envelope", "traced", "until"]

ROWS_MAX: Final = 10_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traced:
    """A result: a message or another thing, where it is (`outbox`, `deferred`, …), since when, and what it waits for,
    in words.
    """

    service: str
    where: str
    id: UUID | None
    type: str
    topic: str
    key: str
    correlation_id: UUID | None
    since: datetime | None
    due: datetime | None
    attempts: int
    reason: str
    waits_for: str


class TraceQuery:
    """What is searched: an id of a message or of a saga instance, a correlation id, or a key.

    `note` is called with a text if a table has more rows than are read. `broker_problem` returns why the broker of a
    service does not answer; empty if it does.
    """

    def __init__(
        self,
        text: str,
        note: Callable[[str], None],
        broker_problem: Callable[[ServiceContext], Awaitable[str]],
    ) -> None:
        self.text = text
        self.broker_problem = broker_problem
        self._note = note
        try:
            self.id: UUID | None = UUID(text)
        except ValueError:
            self.id = None

    def fits(self, envelope: Envelope | None, key: str, *ids: UUID | None) -> bool:
        """Whether a message matches. An unreadable one (None) is compared by the columns `key` and `ids` only."""
        if self.text == key or (envelope is not None and self.text in {envelope.key, envelope.receipt_key}):
            return True
        known = {*ids, *((envelope.id, envelope.correlation_id) if envelope is not None else ())}
        return self.id is not None and self.id in known

    async def rows(
        self, context: ServiceContext, what: str, read: Callable[[int], Awaitable[Sequence[T]]]
    ) -> Sequence[T]:
        """The rows to search, `ROWS_MAX` at most."""
        rows = await read(ROWS_MAX)
        if len(rows) == ROWS_MAX:
            self._note(f"{context.service} has more {what} than the {ROWS_MAX} that were searched")
        return rows


@dataclass(frozen=True, slots=True)
class Trace:
    """A place where a pattern searches. `last_resort`: only if nothing else was found in the service."""

    port: Port[Any]
    find: Callable[[ServiceContext, TraceQuery], Awaitable[Sequence[Traced]]]
    last_resort: bool = False


def traced(
    context: ServiceContext,
    where: str,
    envelope: Envelope | None,
    key: str,
    message_id: UUID | None,
    *,
    waits_for: str,
    topic: str = "",
    type_: str = "",
    since: datetime | None = None,
    seconds: float | None = None,
    due: datetime | None = None,
    attempts: int = 0,
    reason: str = "",
) -> Traced:
    """The result for a message. Without an envelope its row's columns are used. `seconds` is its age."""
    return Traced(
        service=context.service,
        where=where,
        id=envelope.id if envelope is not None else message_id,
        type=envelope.type if envelope is not None else type_,
        topic=topic,
        key=envelope.key if envelope is not None else key,
        correlation_id=envelope.correlation_id if envelope is not None else None,
        since=datetime.now(UTC) - timedelta(seconds=seconds) if seconds is not None else since,
        due=due,
        attempts=attempts,
        reason=reason,
        waits_for=waits_for,
    )


def read_envelope(document: bytes) -> Envelope | None:
    """The envelope of a stored document; None for an unreadable one."""
    try:
        return decode_envelope(document)
    except CodecError:
        return None


def until(at: datetime) -> str:
    """The time from now until then, as a text for operators."""
    seconds = (at - datetime.now(UTC)).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else "now"

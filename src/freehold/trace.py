"""Looking for a message, a key, or all that one cause led to: what is asked, and what a pattern answers. Port: imports
the foundation and the context; knows no pattern.

Ids and keys of messages lie in their documents. So a pattern looks at most at `ROWS_MAX` rows of a table, oldest first:
these tables are emptied, and what is beyond that bound is an alarm of its own. It is told where there were more.
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
    """A message or something else that was looked for, where it is (`outbox`, `deferred`, …), since when, and what it
    waits for, in words.
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
    """What is looked for: an id of a message, of an instance or of a cause, or a key.

    `note` is told where there was more than is looked at; `broker_problem` says why the broker of a service does not
    answer, and is empty where it does.
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
        """Whether a message is looked for; of an unreadable one the columns of its row tell."""
        if self.text == key or (envelope is not None and self.text in {envelope.key, envelope.receipt_key}):
            return True
        known = {*ids, *((envelope.id, envelope.correlation_id) if envelope is not None else ())}
        return self.id is not None and self.id in known

    async def rows(
        self, context: ServiceContext, what: str, read: Callable[[int], Awaitable[Sequence[T]]]
    ) -> Sequence[T]:
        """The rows to look at, `ROWS_MAX` at most."""
        rows = await read(ROWS_MAX)
        if len(rows) == ROWS_MAX:
            self._note(f"{context.service} has more {what} than were looked at: {ROWS_MAX}")
        return rows


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a pattern looks. `last_resort`: only where nothing else was found in the service."""

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
    """A message that was found; what its envelope does not tell, its row does. `seconds` is its age."""
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
    """How long it is till then, for operators."""
    seconds = (at - datetime.now(UTC)).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else "now"

"""`freehold trace`: where a message, all of a key, or all that one cause led to is now, and what it waits for. Face.

Ids and keys of messages lie in their documents. So at most `_LOOKED_AT` rows of each table are looked at, oldest first:
these tables are emptied, and what is beyond that bound is an alarm of its own. It is told where there were more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

import click

from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import ago, answer_json, duration, line, note, until
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter
from freehold.errors import CodecError, FreeholdError
from freehold.inbox.store import INBOX, DeferredMessage
from freehold.messages import Envelope, decode_envelope, message_type
from freehold.outbox.store import OUTBOX, UnsentMessage
from freehold.runtime.adapters import open_broker
from freehold.saga.document import read_progress
from freehold.saga.instance import WaitReason
from freehold.saga.store import SAGAS, TERMINAL_STATUSES, SagaFilter, SagaRecord
from freehold.saga.timeline import problem
from freehold.schedule.store import SCHEDULE, ScheduledMessage

__all__ = ["command"]

_LOOKED_AT: Final = 10_000
_PING_SECONDS: Final = 2.0
_NOT_FOUND: Final = 1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found:
    """A message or a saga, and where it is: `unsent`, `deferred`, `scheduled`, `dead`, `saga` or `handled`."""

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


class _Wanted:
    """What is looked for: an id of a message, of a saga or of a cause, or a key."""

    def __init__(self, text: str) -> None:
        self.text = text
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


@click.command("trace", help="Show where a message is, by its id, key or correlation id, and what it waits for.")
@click.argument("which", metavar="ID|KEY")
@service_option
@json_option
@asynchronous
async def command(project: Project, which: str, names: tuple[str, ...], *, as_json: bool) -> int:
    """Ask service by service; one that fails does not keep the others."""
    wanted = _Wanted(which)
    async with project.open(names) as opened:
        looks = await opened.each(lambda access: _Look(access, wanted).all())
    found = [each for _, those in looks for each in those]
    if as_json:
        answer_json({"found": found, "failed": opened.as_document()})
    else:
        _tell(found, which)
    return opened.code or (0 if found else _NOT_FOUND)


class _Look:
    """One look at the stores of a service."""

    def __init__(self, access: ServiceAccess, wanted: _Wanted) -> None:
        self._access = access
        self._wanted = wanted

    async def all(self) -> list[_Found]:
        """Everything that this service has of it. A receipt is looked for where nothing else was found here."""
        found = [
            *await self._unsent(),
            *await self._scheduled(),
            *await self._deferred(),
            *await self._dead(),
            *await self._sagas(),
        ]
        return found or await self._handled()

    async def _unsent(self) -> list[_Found]:
        rows = await self._bounded("unsent messages", self._access.stores[OUTBOX].unsent)
        blocking = {row.staged.message.key: row for row in reversed(rows) if row.blocked_seconds}
        read = [(row, _envelope(row.staged.message.document)) for row in rows]
        wanted = [
            (row, envelope)
            for row, envelope in read
            if self._wanted.fits(envelope, row.staged.message.key, row.staged.message.id)
        ]
        away = await self._broker_away() if wanted else ""
        return [self._unsent_one(row, envelope, blocking.get(row.staged.message.key), away) for row, envelope in wanted]

    def _unsent_one(
        self, row: UnsentMessage, envelope: Envelope | None, blocking: UnsentMessage | None, away: str
    ) -> _Found:
        message = row.staged.message
        if row.blocked_seconds:
            waits_for = f"its next attempt in {duration(row.blocked_seconds)}: the broker refused it"
        elif blocking is not None:
            waits_for = f"message {blocking.staged.message.id} of the same key, which the broker refused"
        elif away:
            waits_for = f"the broker: {away}"
        else:
            waits_for = "a relay, which publishes it: see freehold ps"
        return self._found(
            "unsent",
            envelope,
            message.key,
            message.id,
            topic=message.topic,
            seconds=row.age_seconds,
            attempts=row.staged.attempts,
            reason=row.reason,
            waits_for=waits_for,
        )

    async def _scheduled(self) -> list[_Found]:
        rows = await self._bounded("scheduled messages", lambda limit: self._access.stores[SCHEDULE].find(None, limit))
        return [
            self._scheduled_one(row, envelope)
            for row in rows
            for envelope in [_envelope(row.message.document)]
            if self._wanted.fits(envelope, row.message.key, row.message.id)
        ]

    def _scheduled_one(self, row: ScheduledMessage, envelope: Envelope | None) -> _Found:
        message = row.message
        return self._found(
            "scheduled",
            envelope,
            message.key,
            message.id,
            topic=message.topic,
            type_=row.name,
            due=row.due_at,
            waits_for=f"its time, {until(row.due_at)}",
        )

    async def _deferred(self) -> list[_Found]:
        rows = await self._bounded("deferred messages", lambda limit: self._access.stores[INBOX].deferred(None, limit))
        heads: dict[tuple[str, str, str], DeferredMessage] = {}
        for row in rows:
            heads.setdefault((row.consumer, row.topic, row.key), row)
        return [
            self._deferred_one(row, envelope, heads[row.consumer, row.topic, row.key])
            for row in rows
            for envelope in [_envelope(row.document)]
            if self._wanted.fits(envelope, row.key) or self._wanted.text == row.receipt_key
        ]

    def _deferred_one(self, row: DeferredMessage, envelope: Envelope | None, head: DeferredMessage) -> _Found:
        if head is row:
            waits_for = f"its next attempt, {until(row.due_at)}"
        else:
            before = _envelope(head.document)
            waits_for = f"message {before.id if before else head.receipt_key} of the same key, which is deferred"
        return self._found(
            "deferred",
            envelope,
            row.key,
            None,
            topic=row.topic,
            since=envelope.time if envelope is not None else None,
            due=row.due_at if head is row else None,
            attempts=row.attempts,
            reason=row.reason,
            waits_for=waits_for,
        )

    async def _dead(self) -> list[_Found]:
        letters = await self._bounded(
            "dead letters", lambda limit: self._access.stores[DEAD_LETTERS].find(DeadLetterFilter(limit=limit))
        )
        return [
            self._dead_one(letter, envelope)
            for letter in letters
            for envelope in [_envelope(letter.document)]
            if self._wanted.fits(envelope, letter.key, letter.message_id, letter.id)
        ]

    def _dead_one(self, letter: DeadLetter, envelope: Envelope | None) -> _Found:
        return self._found(
            "dead",
            envelope,
            letter.key,
            letter.message_id,
            topic=letter.topic,
            type_=letter.type,
            since=letter.failed_at,
            attempts=letter.attempts,
            reason=": ".join(filter(None, (letter.reason, letter.error_type, letter.detail))),
            waits_for=f"an operator: freehold dlq show {letter.id}",
        )

    async def _sagas(self) -> list[_Found]:
        wanted, find = self._wanted, self._access.stores[SAGAS].find
        found = list(await find(SagaFilter(key=wanted.text)))
        if wanted.id is not None:
            found += await find(SagaFilter(id=wanted.id))
            found += await find(SagaFilter(correlation_id=wanted.id))
        return [self._saga_one(record) for record in {record.id: record for record in found}.values()]

    def _saga_one(self, record: SagaRecord) -> _Found:
        ended = record.status in TERMINAL_STATUSES
        return _Found(
            service=self._access.name,
            where="saga",
            id=record.id,
            type=f"{record.definition} ({record.status.value})",
            topic="",
            key=record.key,
            correlation_id=record.correlation_id,
            since=record.updated_at,
            due=None,
            attempts=0,
            reason=record.failure or "",
            waits_for="nothing: it has ended" if ended else self._of_saga(record),
        )

    def _of_saga(self, record: SagaRecord) -> str:
        """What an instance waits for: what keeps it from going on, or the steps that are under way."""
        wrong = problem(record)
        if wrong:
            return wrong
        declared = self._access.service.sagas.get((record.definition, record.definition_version))
        steps = declared.definition().by_name if declared is not None else {}
        told: list[str] = []
        for name, progress in read_progress(record).items():
            overdue = f", overdue {until(progress.wait_until)}" if progress.wait_until is not None else ""
            match progress.wait_reason:
                case WaitReason.REPLY:
                    action = steps[name].action if name in steps else None
                    whom = f"the reply of {_owner(action)}" if action is not None else "a reply"
                    told.append(f"{whom} to step {name}, attempt {progress.attempt}{overdue}")
                case WaitReason.BACKOFF:
                    at = f" {until(progress.wait_until)}" if progress.wait_until is not None else ""
                    told.append(f"the next attempt of step {name}{at}")
                case WaitReason.RUNNER:
                    told.append(f"the call of step {name}, attempt {progress.attempt}{overdue}")
                case _:
                    continue
        if told:
            return "; ".join(told)
        return f"its timer, in {duration(record.due_seconds)}" if record.due_seconds is not None else "its runner"

    async def _handled(self) -> list[_Found]:
        """What a receipt tells: all attempts of one request share it."""
        service = self._access.name
        at = await self._access.stores[INBOX].received_at(service, self._wanted.text)
        if at is None:
            return []
        return [self._found("handled", None, "", self._wanted.id, since=at, waits_for="nothing: it was handled")]

    async def _bounded(self, what: str, read: Callable[[int], Awaitable[Sequence[T]]]) -> Sequence[T]:
        rows = await read(_LOOKED_AT)
        if len(rows) == _LOOKED_AT:
            note(f"{self._access.name} has more {what} than were looked at: {_LOOKED_AT}")
        return rows

    async def _broker_away(self) -> str:
        """Why the broker does not answer; empty where it does."""
        settings = self._access.settings
        broker = open_broker(settings.broker, settings.broker_options)
        try:
            await broker.open()
            await broker.ping(_PING_SECONDS)
        except FreeholdError as error:
            return error.message
        finally:
            await broker.close()
        return ""

    def _found(
        self,
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
    ) -> _Found:
        return _Found(
            service=self._access.name,
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


def _envelope(document: bytes) -> Envelope | None:
    try:
        return decode_envelope(document)
    except CodecError:
        return None


def _owner(command: object) -> str:
    """The service that a command is for: its type begins with it."""
    return message_type(command).name.partition(".")[0]


def _tell(found: Sequence[_Found], which: str) -> None:
    """A paragraph for each: reasons and what is waited for are sentences, for which a table has no room."""
    if not found:
        line(f"nothing is known of {which}")
        note("what was handled longer ago than dedup_window_seconds, and what waits in the broker, is not looked at")
    for each in found:
        attempts = f", attempts: {each.attempts}" if each.attempts else ""
        since = f", {ago(each.since)}" if each.since is not None else ""
        line(f"{each.service}: {each.where}{since}{attempts}", style="bold")
        line(f"  {' '.join(filter(None, (each.type, str(each.id or ''), each.key and f'key {each.key}')))}")
        line(f"  waits for: {each.waits_for}")
        if each.reason:
            line(f"  reason: {each.reason}")

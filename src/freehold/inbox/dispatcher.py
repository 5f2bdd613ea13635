"""One transaction: receipts, handlers, answers, staged messages, commit. Pattern: imports the foundation, the ports,
the transaction and the dead letters.

The dispatcher decides nothing about failures: it raises, the transaction is rolled back, and `attempts` decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from freehold.consistency.store import ProgressStore
from freehold.database import DatabaseTransaction
from freehold.deadletters.store import DeadLetter, DeadLetterStatus, DeadLetterStore, Direction
from freehold.errors import FreeholdError
from freehold.failures import describe, name_of
from freehold.ids import new_id
from freehold.inbox.handler import ReplyHandler
from freehold.inbox.reply import OUTCOME_CANCELLED, OUTCOME_NO_EFFECT, make_reply, repeat_reply, reply_to_result
from freehold.inbox.store import DeferredMessage, InboxStore, ReceiveResult, ReceiveStatus
from freehold.inbox.work import HandlerCall
from freehold.lifecycle import contained
from freehold.messages import MessageKind, encode_envelope
from freehold.transaction import Transaction, Transactions, current_trace_parent

__all__ = ["NO_ANSWER", "Counters", "Dispatcher", "Effect", "HandlerFailed", "HandlerTimeout", "StaleClaim"]

_log = logging.getLogger("freehold.inbox")

Effect = Callable[[Transaction, HandlerCall], Awaitable[object]]
"""What is done for a fresh message, and what its answer is."""


class HandlerTimeout(FreeholdError):
    """A handler did not end within its time limit; it was cancelled and its transaction rolled back."""


class HandlerFailed(Exception):
    """Tells an error of the user's handler from one of the machinery around it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class StaleClaim(FreeholdError):
    """Another instance took the deferred message over; what was done for it is rolled back."""


@dataclass(slots=True)
class Counters:
    """What a consumer has done since it started; read by health checks and metrics."""

    handled: int = 0
    duplicates: int = 0
    deferred: int = 0
    dead: int = 0
    rejected: int = 0
    last_error: str = ""


class Dispatcher:
    """Handles messages in one transaction with their receipts: the effect of each happens once."""

    def __init__(
        self,
        transactions: Transactions,
        inbox: InboxStore,
        dead_letters: DeadLetterStore,
        *,
        consumer: str,
        handler_timeout_seconds: float,
        on_deferred: Callable[[], None] = lambda: None,
        replies: ReplyHandler | None = None,
        progress: ProgressStore | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.context = transactions.context
        self._transactions = transactions
        self.inbox = inbox
        self.consumer = consumer
        self.counters = Counters()
        self.on_deferred = on_deferred
        self._dead_letters = dead_letters
        self._replies = replies
        self._handler_timeout_seconds = handler_timeout_seconds
        self._progress = progress
        self._on_progress = on_progress
        self._reached: dict[str, int] = {}

    async def handle(
        self,
        works: Sequence[HandlerCall],
        *,
        claimed: DeferredMessage | None = None,
        instead: Effect | None = None,
        heard: Mapping[str, int] | None = None,
    ) -> Sequence[ReceiveResult]:
        """Commit the effects of messages, in order, or none of them; returns what the inbox said of each.

        `heard` are the watermarks that are reached with these messages; they go along in the transaction. `claimed` is
        the deferred message that the one work comes from; `instead` takes the place of the handler.
        Raises `HandlerFailed`, `StaleClaim`, and what the database raises.
        """
        for work in works:
            if work.envelope is not None:
                self.context.hlc.observe(work.envelope.hlc)
        async with self.context.database.begin() as db_tx:
            tx = self._transactions.within(db_tx)
            receipts = await self.inbox.receive(db_tx, self.consumer, [work.arrival for work in works])
            await self._prepare(tx, works, receipts)
            answers: dict[str, bytes] = {}
            for work, receipt in zip(works, receipts, strict=True):
                await self._one(tx, work, receipt, answers, instead)
            if claimed is not None and not await self.inbox.finish(db_tx, claimed):
                raise StaleClaim("the deferred message was taken over")
            if answers:
                await self.inbox.save_replies(db_tx, self.consumer, answers)
            # Progress last: where the events stand is known once they are written. And streams and keys are locked
            # before the rows of lanes by everybody, so that no two transactions wait for each other in a circle.
            await tx.write()
            news = await self._advance(db_tx, heard or {}, works, tx.staging.appended_position)
        tx.staging.notify()
        self._count(works, receipts)
        self._note(news, unblocked=claimed is not None)
        return receipts

    async def advance(self, heard: Mapping[str, int]) -> None:
        """Note what was reached, in a transaction of its own: after messages that nobody here handles, or that were
        handled one by one. Nothing where nothing is new.
        """
        if self._news(heard):
            async with self.context.database.begin() as db_tx:
                news = await self._advance(db_tx, heard)
            self._note(news)

    async def _advance(
        self,
        db_tx: DatabaseTransaction,
        heard: Mapping[str, int],
        works: Sequence[HandlerCall] = (),
        appended_position: int = 0,
    ) -> Mapping[str, int]:
        """`appended_position` is what the works appended: it belongs to each of their lanes, also where nothing else is
        new.
        """
        news = self._news(heard)
        if self._progress is None or not (news or appended_position):
            return news
        lanes = {work.arrival.lane: 0 for work in works if appended_position and work.arrival.lane is not None}
        if news or lanes:
            await self._progress.advance(db_tx, self.consumer, lanes | dict(news), appended_position=appended_position)
        return news

    def _news(self, heard: Mapping[str, int]) -> Mapping[str, int]:
        if self._progress is None:
            return {}
        return {lane: watermark for lane, watermark in heard.items() if watermark > self._reached.get(lane, 0)}

    def _note(self, news: Mapping[str, int], *, unblocked: bool = False) -> None:
        """After the commit: what need not be written again, and who may have waited for it."""
        for lane, watermark in news.items():
            self._reached[lane] = max(watermark, self._reached.get(lane, 0))
        if news or unblocked:
            self._on_progress()

    async def _prepare(self, tx: Transaction, works: Sequence[HandlerCall], receipts: Sequence[ReceiveResult]) -> None:
        """Tell the taker of replies which are to come, where there are several."""
        fresh = [
            work.envelope
            for work, receipt in zip(works, receipts, strict=True)
            if receipt.status is ReceiveStatus.NEW
            and work.envelope is not None
            and work.envelope.kind is MessageKind.REPLY
        ]
        if self._replies is not None and len(fresh) > 1:
            await self._replies.prepare(fresh, tx)

    async def _one(
        self,
        tx: Transaction,
        work: HandlerCall,
        receipt: ReceiveResult,
        answers: dict[str, bytes],
        instead: Effect | None,
    ) -> None:
        envelope = work.envelope
        wants_answer = envelope is not None and envelope.reply_to is not None
        match receipt.status:
            case ReceiveStatus.NEW:
                result = await self._effect(tx, work, instead)
                if envelope is None or not wants_answer or work.defect is not None or result is NO_ANSWER:
                    return
                try:
                    reply = reply_to_result(self.context, envelope, result)
                except Exception as error:
                    raise HandlerFailed(error) from error
                tx.staging.stage(reply)
                answers[work.arrival.receipt_key] = encode_envelope(reply)
            case ReceiveStatus.DUPLICATE:
                if envelope is not None and wants_answer and receipt.answer is not None:
                    tx.staging.stage(repeat_reply(self.context, envelope, receipt.answer))
            case ReceiveStatus.CANCELLED | ReceiveStatus.NO_EFFECT:
                if envelope is not None and wants_answer:
                    outcome = OUTCOME_CANCELLED if receipt.status is ReceiveStatus.CANCELLED else OUTCOME_NO_EFFECT
                    reply = make_reply(self.context, envelope, outcome)
                    tx.staging.stage(reply)
                    answers[work.arrival.receipt_key] = encode_envelope(reply)
            case ReceiveStatus.BLOCKED:
                if work.arrival.deferred_position is not None:
                    raise StaleClaim("an earlier message of its key is deferred")
                await self.inbox.defer(
                    tx.db_tx,
                    self.consumer,
                    work.arrival,
                    work.document,
                    attempts=0,
                    delay_seconds=0.0,
                    reason="waits behind an earlier message of its key",
                )

    async def _effect(self, tx: Transaction, work: HandlerCall, instead: Effect | None) -> object:
        if instead is not None:
            return await instead(Transaction(tx.staging.for_message(work.envelope)) if work.envelope else tx, work)
        if work.defect is not None:
            error = work.defect.error
            _log.warning(
                "%s: message %s cannot be decoded (%s); it becomes a dead letter%s",
                self.consumer,
                work.envelope.id if work.envelope else work.arrival.receipt_key,
                describe(error),
                self.context.failures.traceback(error),
            )
            await self.dead_letter(tx, work, reason=work.defect.reason, error=error, attempts=0)
            return NO_ANSWER
        if work.call is None or work.envelope is None:
            return NO_ANSWER
        limit_seconds = work.timeout_seconds or self._handler_timeout_seconds
        trace = current_trace_parent.set(work.envelope.trace_parent)
        scope = asyncio.timeout(limit_seconds)
        try:
            async with scope:
                with contained():
                    return await work.call(Transaction(tx.staging.for_message(work.envelope)))
        except TimeoutError as error:
            if not scope.expired():
                raise HandlerFailed(error) from error
            timeout = HandlerTimeout(f"the handler of '{work.envelope.type}' took more than {limit_seconds:g} s")
            timeout.__cause__ = error
            raise HandlerFailed(timeout) from error
        except Exception as error:
            raise HandlerFailed(error) from error
        finally:
            current_trace_parent.reset(trace)

    async def dead_letter(
        self, tx: Transaction, work: HandlerCall, *, reason: str, error: BaseException, attempts: int
    ) -> None:
        """Keep a dead letter, in the transaction that ends the message's way."""
        envelope = work.envelope
        letter = DeadLetter(
            id=new_id(),
            direction=Direction.INBOUND,
            consumer=self.consumer,
            topic=work.arrival.topic,
            key=work.arrival.key,
            message_id=envelope.id if envelope else None,
            type=envelope.type if envelope else "",
            reason=reason,
            error_type=name_of(error),
            detail=describe(error),
            attempts=attempts,
            failed_at=self.context.clock.now(),
            status=DeadLetterStatus.DEAD,
            document=work.document,
        )
        await self._dead_letters.add(tx.db_tx, letter)
        self.counters.dead += 1

    def _count(self, works: Sequence[HandlerCall], receipts: Sequence[ReceiveResult]) -> None:
        for receipt in receipts:
            match receipt.status:
                case ReceiveStatus.NEW:
                    self.counters.handled += 1
                case ReceiveStatus.BLOCKED:
                    self.counters.deferred += 1
                case _:
                    self.counters.duplicates += 1
        if any(receipt.status is ReceiveStatus.BLOCKED for receipt in receipts):
            self.on_deferred()


NO_ANSWER: Final = object()
"""Returned by an effect that answers nothing, whatever the request asks for."""

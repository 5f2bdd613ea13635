"""The dispatcher: handles messages in one transaction with receipts, replies and staged messages. Pattern: imports the
foundation, the ports, the transaction and the dead letters.

The dispatcher raises on a failure, and the transaction is rolled back. `retry.py` decides what follows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from freehold.consistency.store import ProgressStore
from freehold.crash_points import crash_point
from freehold.database import DatabaseTransaction
from freehold.deadletters.metrics import ADDED
from freehold.deadletters.store import DeadLetter, DeadLetterStatus, DeadLetterStore, Direction
from freehold.errors import FreeholdError
from freehold.failures import describe, name_of
from freehold.ids import new_id
from freehold.inbox.handler import ReplyHandler
from freehold.inbox.handling_times import HandlingTimes
from freehold.inbox.reply import (
    OUTCOME_CANCELLED,
    OUTCOME_NO_EFFECT,
    is_refusal,
    make_reply,
    repeat_reply,
    reply_to_result,
)
from freehold.inbox.store import DeferredMessage, InboxStore, ReceiveResult, ReceiveStatus
from freehold.inbox.work import HandlerCall, batch_end
from freehold.messages import Envelope, MessageKind, encode_envelope
from freehold.tasks import TimeLimit, contained
from freehold.tracecontext import TraceContext
from freehold.transaction import Transaction, Transactions, current_trace

__all__ = ["NO_REPLY", "Counters", "Dispatcher", "Effect", "HandlerFailed", "HandlerTimeout", "StaleClaim"]

_log = logging.getLogger("freehold.inbox")

Effect = Callable[[Transaction, HandlerCall], Awaitable[object]]
"""Handles a new message in a transaction, and returns the result for its reply."""


class HandlerTimeout(FreeholdError):
    """A handler did not end within its time limit; it was cancelled and its transaction rolled back."""


class HandlerFailed(Exception):
    """An error of the service's handler, as opposed to one of the code around it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class StaleClaim(FreeholdError):
    """Another process has claimed the deferred message; this transaction is rolled back."""


@dataclass(slots=True)
class Counters:
    """Counts of a consumer since it started; read by health checks and metrics."""

    handled: int = 0
    duplicates: int = 0
    deferred: int = 0
    dead: int = 0
    rejected: int = 0
    last_error: str = ""


class Dispatcher:
    """Handles messages in one transaction with their receipts, so that the effect of each happens once."""

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
        self.times = HandlingTimes()
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
        watermarks: Mapping[str, int] | None = None,
    ) -> Sequence[ReceiveResult]:
        """Commit the effects of all messages, in order, or of none; returns the result of the duplicate check for each.

        `watermarks` are those that are reached with these messages; they are written in the same transaction. `claimed`
        is the deferred message that is handled. `instead` is called in place of the handler.
        Raises `HandlerFailed`, `StaleClaim`, and errors of the database.
        """
        self.context.hlc.observe(*[work.envelope.hlc for work in works if work.envelope is not None])
        async with self.context.database.begin() as db_tx:
            tx = self._transactions.within(db_tx)
            receipts = await self.inbox.receive(db_tx, self.consumer, [work.arrival for work in works])
            crash_point("inbox.received")
            await self._prepare(tx, works, receipts)
            replies = await self._call_handlers(tx, works, receipts, instead)
            if claimed is not None and not await self.inbox.finish(db_tx, claimed):
                raise StaleClaim("another process has claimed the deferred message")
            crash_point("inbox.before-write")
            # Progress last: the positions of the events are known once they are written. And every transaction locks
            # streams and keys before the rows of lanes, so that no two of them wait for each other. What is written
            # last may go to the server with the commit, in this order.
            await tx.staging.write(last=True)
            if replies:
                await self.inbox.save_replies_last(db_tx, self.consumer, replies)
            raised = await self._advance(db_tx, watermarks or {}, works, tx.staging.appended_position)
            crash_point("inbox.before-commit")
        crash_point("inbox.committed")
        tx.staging.notify()
        self._count(works, receipts)
        self._note(raised, unblocked=claimed is not None)
        return receipts

    async def _call_handlers(
        self, tx: Transaction, works: Sequence[HandlerCall], receipts: Sequence[ReceiveResult], instead: Effect | None
    ) -> Mapping[str, bytes]:
        """Call the handlers in order; returns the replies, by receipt key."""
        replies: dict[str, bytes] = {}
        begin = 0
        with closing(TimeLimit()) as limit:
            while begin < len(works):
                end = begin + 1 if instead is not None else batch_end(works, receipts, begin)
                if end > begin + 1:
                    await self._batch(tx, works[begin:end], limit)
                else:
                    await self._one(tx, works[begin], receipts[begin], replies, limit, instead)
                begin = end
        return replies

    async def advance(self, watermarks: Mapping[str, int]) -> None:
        """Write watermarks in their own transaction: after messages that this service does not handle, or that were
        handled one by one. Writes nothing where none is higher than before.
        """
        if self._raised(watermarks):
            async with self.context.database.begin() as db_tx:
                raised = await self._advance(db_tx, watermarks)
                crash_point("inbox.before-progress-commit")
            crash_point("inbox.progress-committed")
            self._note(raised)

    async def _advance(
        self,
        db_tx: DatabaseTransaction,
        watermarks: Mapping[str, int],
        works: Sequence[HandlerCall] = (),
        appended_position: int = 0,
    ) -> Mapping[str, int]:
        """Write the watermarks that are higher than before, and return them. `appended_position` is the position of the
        last event that the works appended; it is written to each of their lanes, also where no watermark is higher.
        """
        raised = self._raised(watermarks)
        if self._progress is None or not (raised or appended_position):
            return raised
        lanes = {work.arrival.lane: 0 for work in works if appended_position and work.arrival.lane is not None}
        if raised or lanes:
            position = appended_position
            await self._progress.advance_last(db_tx, self.consumer, lanes | dict(raised), appended_position=position)
        return raised

    def _raised(self, watermarks: Mapping[str, int]) -> Mapping[str, int]:
        if self._progress is None:
            return {}
        return {lane: watermark for lane, watermark in watermarks.items() if watermark > self._reached.get(lane, 0)}

    def _note(self, raised: Mapping[str, int], *, unblocked: bool = False) -> None:
        """Remember the committed watermarks, and wake reads that may wait for them."""
        for lane, watermark in raised.items():
            self._reached[lane] = max(watermark, self._reached.get(lane, 0))
        if raised or unblocked:
            self._on_progress()

    async def _prepare(self, tx: Transaction, works: Sequence[HandlerCall], receipts: Sequence[ReceiveResult]) -> None:
        """Let the reply handler load what several replies need in one round trip."""
        if self._replies is None:
            return
        replies = [
            work.envelope
            for work, receipt in zip(works, receipts, strict=True)
            if receipt.status is ReceiveStatus.NEW
            and work.envelope is not None
            and work.envelope.kind is MessageKind.REPLY
        ]
        if len(replies) > 1:
            await self._replies.prepare(replies, tx)

    async def _one(
        self,
        tx: Transaction,
        work: HandlerCall,
        receipt: ReceiveResult,
        replies: dict[str, bytes],
        limit: TimeLimit,
        instead: Effect | None,
    ) -> None:
        request = work.envelope if work.envelope is not None and work.envelope.reply_to is not None else None
        status = _status(work, receipt, replies)
        match status:
            case ReceiveStatus.NEW:
                result = await self._effect(tx, work, limit, instead)
                if request is None or work.decode_failure is not None or result is NO_REPLY:
                    return
                try:
                    reply = reply_to_result(self.context, request, result)
                except Exception as error:
                    raise HandlerFailed(error) from error
                tx.staging.stage(reply)
                replies[work.arrival.receipt_key] = encode_envelope(reply)
            case ReceiveStatus.DUPLICATE:
                if request is not None and receipt.reply is not None:
                    tx.staging.stage(repeat_reply(self.context, request, receipt.reply))
            case ReceiveStatus.CANCELLED | ReceiveStatus.NO_EFFECT:
                if request is not None:
                    outcome = OUTCOME_CANCELLED if status is ReceiveStatus.CANCELLED else OUTCOME_NO_EFFECT
                    reply = make_reply(self.context, request, outcome)
                    tx.staging.stage(reply)
                    replies[work.arrival.receipt_key] = encode_envelope(reply)
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

    async def _effect(self, tx: Transaction, work: HandlerCall, limit: TimeLimit, instead: Effect | None) -> object:
        if instead is not None:
            return await instead(Transaction(tx.staging.for_message(work.envelope)) if work.envelope else tx, work)
        if work.decode_failure is not None:
            error = work.decode_failure.error
            _log.warning(
                "%s: message %s cannot be decoded (%s); it becomes a dead letter%s",
                self.consumer,
                work.envelope.id if work.envelope else work.arrival.receipt_key,
                describe(error),
                self.context.failures.traceback(error),
            )
            await self.dead_letter(tx, work, reason=work.decode_failure.reason, error=error, attempts=0)
            return NO_REPLY
        if work.call is None or work.envelope is None:
            return NO_REPLY
        call, own = work.call, Transaction(tx.staging.for_message(work.envelope))
        return await self._in_time([work], work.envelope, limit, lambda: call(own))

    async def _batch(self, tx: Transaction, works: Sequence[HandlerCall], limit: TimeLimit) -> None:
        """Call the handler of several messages once for all of them."""
        first = works[0]
        pairs = [
            (work.batch.message, Transaction(tx.staging.for_message(work.envelope)))
            for work in works
            if work.batch is not None and work.envelope is not None
        ]
        if first.batch is not None and first.envelope is not None:
            function = first.batch.handler.function
            await self._in_time(works, first.envelope, limit, lambda: function(pairs, tx))

    async def _in_time(
        self, works: Sequence[HandlerCall], first: Envelope, limit: TimeLimit, call: Callable[[], Awaitable[object]]
    ) -> object:
        """Call a handler within its time limit, and note how long it took for each message."""
        limit_seconds = works[0].timeout_seconds or self._handler_timeout_seconds
        trace = current_trace.set(_trace_of(works, first))
        begun, ok = self.context.clock.monotonic(), False
        try:
            with limit.of(limit_seconds), contained():
                crash_point("inbox.before-handler")
                result = await call()
            ok = True
            return result
        except TimeoutError as error:
            if not limit.expired:
                raise HandlerFailed(error) from error
            timeout = HandlerTimeout(f"the handler of '{first.type}' took more than {limit_seconds:g} s")
            timeout.__cause__ = error
            raise HandlerFailed(timeout) from error
        except Exception as error:
            raise HandlerFailed(error) from error
        finally:
            crash_point("inbox.handler-ended")
            seconds = (self.context.clock.monotonic() - begun) / len(works)
            for work in works:
                self.times.note(work.place, seconds)
                if work.meter is not None:
                    (work.meter.ok if ok else work.meter.failed).observe(seconds)
            current_trace.reset(trace)

    async def dead_letter(
        self, tx: Transaction, work: HandlerCall, *, reason: str, error: BaseException, attempts: int
    ) -> None:
        """Store a dead letter, in the transaction that removes the message."""
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
        crash_point("inbox.dead-letter-added")
        self.counters.dead += 1
        self.context.metrics.counter(ADDED, reason).value += 1

    def _count(self, works: Sequence[HandlerCall], receipts: Sequence[ReceiveResult]) -> None:
        now = self.context.clock.now()
        for work, receipt in zip(works, receipts, strict=True):
            match receipt.status:
                case ReceiveStatus.NEW:
                    self.counters.handled += 1
                    if work.meter is not None and work.envelope is not None:
                        work.meter.delivery.observe((now - work.envelope.time).total_seconds())
                case ReceiveStatus.BLOCKED:
                    self.counters.deferred += 1
                case _:
                    self.counters.duplicates += 1
        if any(receipt.status is ReceiveStatus.BLOCKED for receipt in receipts):
            self.on_deferred()


def _trace_of(works: Sequence[HandlerCall], first: Envelope) -> TraceContext | None:
    """The trace of a handler's work: that of its message; a new one for a retry, which may come days later. None for a
    batch, in which each message has its own.
    """
    if len(works) > 1:
        return None
    trace = TraceContext.parse(first.trace_parent, first.trace_state)
    return trace.restarted() if trace is not None and works[0].arrival.deferred_position is not None else trace


def _status(work: HandlerCall, receipt: ReceiveResult, replies: Mapping[str, bytes]) -> ReceiveStatus:
    """The result of the duplicate check, for a compensation with what became of its action in this transaction."""
    if receipt.status is ReceiveStatus.NEW and is_refusal(replies.get(work.arrival.compensates or "")):
        return ReceiveStatus.NO_EFFECT
    return receipt.status


NO_REPLY: Final = object()
"""Returned by an effect that sends no reply, also where the request asks for one."""

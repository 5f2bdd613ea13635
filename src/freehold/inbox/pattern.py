"""The inbox pattern: consumers, the runner of deferred messages, pruning of receipts. Pattern: a declaration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.broker import BrokerFeatures
from freehold.consistency.gate import FreshnessGate
from freehold.consistency.store import PROGRESS, PROGRESSED
from freehold.context import ServiceContext
from freehold.database import DatabaseTransaction
from freehold.deadletters.operations import ReplayRoutes
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, Direction
from freehold.errors import ConfigurationError
from freehold.inbox.consumer_runner import ConsumerRunner
from freehold.inbox.deferred_runner import DeferredRunner
from freehold.inbox.description import describe, flows, lines
from freehold.inbox.dispatcher import Dispatcher
from freehold.inbox.handler import Handlers, ReplyRouter
from freehold.inbox.metrics import FAMILIES, count_messages, meters_of, readings
from freehold.inbox.probes import probe
from freehold.inbox.store import DEFERRED, INBOX, DeferredStats, IncomingMessage
from freehold.inbox.trace import TRACES
from freehold.inbox.work import MessageRouter
from freehold.lifecycle import Runner
from freehold.messages import Envelope, MessageKind, encode_envelope
from freehold.pattern import Check, Column, Due, Metric, Need, Notice, Pattern, Phase, Pruning, Role
from freehold.settings import Settings
from freehold.transaction import Transactions

__all__ = ["PATTERN", "check_windows", "dispatcher_of", "router_of"]

_VISIBILITY_MARGIN_SECONDS: Final = 30.0


def check_windows(settings: Settings, features: BrokerFeatures) -> None:
    """Check that receipts are kept for as long as a message can be delivered again. Raises `ConfigurationError`."""
    window = settings.dedup_window_seconds
    horizons = {
        f"the redelivery horizon of {features.technology}": features.redelivery_horizon_seconds,
        "dead_letter_replay_window_seconds": settings.dead_letter_replay_window_seconds,
        "outbox_sent_retention_seconds": settings.outbox_sent_retention_seconds,
    }
    for name, horizon in horizons.items():
        if window < horizon:
            raise ConfigurationError(
                f"service '{settings.service}': dedup_window_seconds is {window:g}, and {name} is {horizon:g}:"
                " a message could be delivered again after its receipt was pruned",
                hint=f"set dedup_window_seconds to {horizon:g} or more",
            )


def dispatcher_of(context: ServiceContext) -> Dispatcher:
    """Make the dispatcher of a service."""
    return Dispatcher(
        context.resource(Transactions),
        context.stores[INBOX],
        context.stores[DEAD_LETTERS],
        consumer=context.service,
        progress=context.stores[PROGRESS],
        on_progress=lambda: context.emit(PROGRESSED),
        handler_timeout_seconds=context.settings.handler_timeout_seconds,
        on_deferred=lambda: context.emit(DEFERRED),
        replies=context.resource(ReplyRouter).handler,
    )


def router_of(context: ServiceContext) -> MessageRouter:
    """Make the message router of a service."""
    return MessageRouter(
        context.of(PATTERN).handlers.values(), context.resource(ReplyRouter).handler, meters_of(context)
    )


def _wire(context: ServiceContext) -> None:
    context.offer(ReplyRouter, ReplyRouter())
    context.shared(ReplayRoutes).add(Direction.INBOUND, _replay, DEFERRED)
    declared = context.of(PATTERN)
    context.resource(FreshnessGate).follow_lanes(lambda: _followed(declared), role="consumer")


async def _replay(context: ServiceContext, db_tx: DatabaseTransaction, letter: DeadLetter, envelope: Envelope) -> None:
    """Defer a dead letter's message for its consumer, due at once, so that it is handled again."""
    arrival = IncomingMessage(
        receipt_key=envelope.receipt_key, topic=envelope.topic, key=envelope.key, compensates=envelope.compensates
    )
    await context.stores[INBOX].defer(
        db_tx,
        letter.consumer,
        arrival,
        encode_envelope(envelope),
        attempts=0,
        delay_seconds=0.0,
        reason="replayed dead letter",
    )


def _followed(declared: Handlers) -> frozenset[str]:
    """The services whose events this one handles."""
    return frozenset(each.service for each in declared.handlers if each.kind is MessageKind.EVENT)


def _consumer(context: ServiceContext) -> Sequence[Runner]:
    declared, settings = context.of(PATTERN), context.settings
    if not declared.topics:
        return []
    dispatcher = dispatcher_of(context)
    count_messages(context, "consumer", dispatcher.counters)
    return [
        ConsumerRunner(
            dispatcher,
            router_of(context),
            context.broker,
            declared.topics,
            workers=settings.workers,
            batch_limit=settings.batch_limit,
            crash_attempts_max=settings.crash_attempts_max,
        )
    ]


def _deferred(context: ServiceContext) -> Sequence[Runner]:
    declared, settings = context.of(PATTERN), context.settings
    if not declared.topics:
        return []
    limits = [each.timeout_seconds or 0.0 for each in declared.handlers.values()]
    longest_seconds = max([settings.handler_timeout_seconds, *limits])
    dispatcher = dispatcher_of(context)
    count_messages(context, "deferred", dispatcher.counters)
    return [
        DeferredRunner(
            dispatcher,
            router_of(context),
            visibility_timeout_seconds=longest_seconds + _VISIBILITY_MARGIN_SECONDS,
            poll_seconds=2 * settings.poll_seconds,
            crash_attempts_max=settings.crash_attempts_max,
        )
    ]


def _is_used(context: ServiceContext) -> bool:
    return bool(context.of(PATTERN).topics)


async def _check_windows(context: ServiceContext) -> None:
    check_windows(context.settings, context.broker.features)


async def _prune(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    return await context.stores[INBOX].prune(context.service, older_than_seconds, limit)


async def _oldest_receipt(context: ServiceContext) -> float:
    return await context.stores[INBOX].oldest_receipt_seconds(context.service)


async def _due_seconds(context: ServiceContext) -> float | None:
    return await context.stores[INBOX].next_due_seconds(context.service)


async def _read_deferred(context: ServiceContext) -> DeferredStats:
    return await context.stores[INBOX].stats()


async def _notice(context: ServiceContext) -> str:
    """A notice where messages have been deferred for longer than `deferred_alarm_seconds`."""
    found = await context.stores[INBOX].stats()
    if not found.pending or found.oldest_seconds <= context.settings.deferred_alarm_seconds:
        return ""
    which = "one message is" if found.pending == 1 else f"{found.pending} messages are"
    return f"{which} deferred, the oldest for {found.oldest_seconds / 60:.0f} min: freehold doctor says why"


def _needs(declared: Handlers) -> Sequence[Need]:
    if not declared.topics:
        return ()
    return (Need("inbox", (INBOX, DEAD_LETTERS, PROGRESS), sorted(declared.topics)),)


PATTERN: Final = Pattern[Handlers](
    "inbox",
    "handles each message once",
    declares=Handlers,
    traces=TRACES,
    describe=describe,
    lines=lines,
    flows=flows,
    needs=_needs,
    wire=_wire,
    roles=(
        Role("consumer", _consumer, needs_broker=True),
        Role("deferred", _deferred, wakes_on={DEFERRED: DeferredRunner}),
    ),
    checks=(Check(Phase.OPENED, _check_windows), Check(Phase.CONNECTED, _check_windows)),
    probes=(probe,),
    reads=lambda declared: declared.topics,
    metrics=(Metric("deferred", "messages that wait for a retry", INBOX, _read_deferred),),
    columns=(Column("deferred", "deferred", lambda metrics: metrics["deferred"].pending),),
    families=FAMILIES,
    readings=readings(_is_used),
    notices=(Notice("deferred", INBOX, _notice),),
    due=(Due("deferred messages", "deferred", INBOX, _due_seconds),),
    pruning=(
        Pruning("inbox", INBOX, _prune, lambda settings: settings.dedup_window_seconds, "receipts", _oldest_receipt),
    ),
)

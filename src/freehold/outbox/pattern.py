"""The outbox pattern: the relay with its leases, and the pruning of sent messages. Pattern: a declaration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.broker import OutgoingMessage
from freehold.context import ServiceContext
from freehold.database import DatabaseTransaction
from freehold.deadletters.operations import ReplayRoutes
from freehold.deadletters.store import DeadLetter, Direction
from freehold.errors import ConfigurationError
from freehold.leases.keeper import LeaseManager, holder_name
from freehold.leases.store import LEASES, REBALANCE
from freehold.lifecycle import Runner
from freehold.messages import Envelope, encode_envelope
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.log_watch import LogWatch
from freehold.outbox.metrics import COLUMNS, FAMILIES, METRICS, NOTICES, READINGS, count_published
from freehold.outbox.probes import probe
from freehold.outbox.relay_runner import RelayRunner
from freehold.outbox.sent import SENT
from freehold.outbox.store import LEASE_PREFIX, OUTBOX, STAGED
from freehold.outbox.trace import TRACES
from freehold.outbox.watermark import WatermarkStamper, lanes_in_order
from freehold.pattern import Check, Need, Pattern, Phase, Pruning, Role

__all__ = ["PATTERN"]


def _wire(context: ServiceContext) -> None:
    context.shared(ReplayRoutes).add(Direction.OUTBOUND, _replay, STAGED)
    if context.has_broker:
        context.offer(LogWatch, LogWatch(context.settings, context.broker, context.stores[BROKER_LOGS]))


async def _replay(context: ServiceContext, db_tx: DatabaseTransaction, _: DeadLetter, envelope: Envelope) -> None:
    """Stage a dead letter's message again, so that the relay publishes it."""
    document = encode_envelope(envelope)
    await context.stores[OUTBOX].stage(db_tx, [OutgoingMessage(envelope.id, envelope.topic, envelope.key, document)])


def _relay(context: ServiceContext) -> Sequence[Runner]:
    """The relay and the manager of its leases."""
    settings, stores = context.settings, context.stores
    names = {f"{LEASE_PREFIX}{partition}": partition for partition in range(stores[OUTBOX].partitions)}
    relay = RelayRunner(
        context.service,
        stores,
        context.broker,
        lambda: {names[name]: token for name, token in keeper.tokens.items()},
        clock=context.clock,
        poll_seconds=settings.poll_seconds,
        lanes=_lanes(context),
        keeps_sent=settings.outbox_sent_retention_seconds > 0,
        known_log=context.find(LogWatch),
        recall_seconds=settings.dedup_window_seconds,
    )
    count_published(context, relay.counters)
    keeper = LeaseManager(
        stores[LEASES],
        LEASE_PREFIX,
        tuple(names),
        holder_name(),
        settings.lease_seconds,
        context.clock,
        on_change=relay.wake,
        before_release=relay.finish_round,
        on_rebalance=lambda: context.tell(REBALANCE),
    )
    return [keeper, relay]


def _lanes(context: ServiceContext) -> WatermarkStamper | None:
    """The stamper of lanes and watermarks; None where the messages of a lane do not arrive in order."""
    partitions = context.stores[OUTBOX].partitions
    if not lanes_in_order(partitions, context.broker.partitions) or not WatermarkStamper.can_name(context.service):
        return None
    return WatermarkStamper(context.service, partitions, context.clock)


async def _check_lanes(context: ServiceContext) -> None:
    """Check that lanes arrive in order where the service issues consistency tokens. Raises `ConfigurationError`."""
    outbox_partitions, broker_partitions = context.stores[OUTBOX].partitions, context.broker.partitions
    if context.settings.token_secret and not lanes_in_order(outbox_partitions, broker_partitions):
        raise ConfigurationError(
            f"service '{context.service}': its outbox has {outbox_partitions} partitions, which is no multiple of the"
            f" broker's {broker_partitions}: reads could not wait for consistency tokens",
            hint="use a database or a broker whose partitions fit, or remove token_secret",
        )


async def _prune_sent(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    return await context.stores[SENT].prune(older_than_seconds, limit)


async def _oldest_sent(context: ServiceContext) -> float:
    kept = await context.stores[SENT].kept()
    return 0.0 if kept.oldest_at is None else (kept.now - kept.oldest_at).total_seconds()


PATTERN: Final = Pattern[None](
    "outbox",
    "publishes what transactions staged",
    declares=lambda _: None,
    traces=TRACES,
    needs=lambda _: (Need("outbox", (OUTBOX, SENT, BROKER_LOGS, LEASES)),),
    wire=_wire,
    roles=(
        Role(
            "relay", _relay, wakes_on={STAGED: RelayRunner, REBALANCE: LeaseManager}, needs_broker=True, stops_last=True
        ),
    ),
    probes=(probe,),
    metrics=METRICS,
    columns=COLUMNS,
    families=FAMILIES,
    readings=READINGS,
    notices=NOTICES,
    checks=(Check(Phase.CONNECTED, _check_lanes),),
    pruning=(
        Pruning(
            "outbox-sent",
            SENT,
            _prune_sent,
            lambda settings: settings.outbox_sent_retention_seconds,
            "sent messages",
            _oldest_sent,
        ),
    ),
    commands={"outbox": "freehold.outbox.commands:command"},
)

"""A mark behind everything that a service has published so far. Pattern: imports the foundation and the transaction."""

from __future__ import annotations

from functools import cache

from freehold.consistency.token import Token, outbox_lane
from freehold.context import ServiceContext
from freehold.ids import new_id, stable_hash
from freehold.messages import Envelope, MessageKind
from freehold.outbox.store import OUTBOX
from freehold.transaction import Transactions

__all__ = ["fence"]


async def fence(transactions: Transactions) -> Token:
    """Publish a mark in each lane, in one transaction; returns where the marks stand.

    A consumer that has come to them has handled everything that was committed before the call, for a lane's watermark
    never passes what is not yet there. Consumers know marks as progress only.
    """
    context = transactions.context
    partitions = range(context.stores[OUTBOX].partitions)
    async with transactions.begin() as tx:
        for partition in partitions:
            tx.staging.stage(_mark(context, _key_of(partition, context.stores[OUTBOX].partitions)))
    # What the caller has seen of other lanes stands in the token too, and is nothing that a copy has to come to.
    lanes = {outbox_lane(context.service, partition) for partition in partitions}
    return Token({lane: position for lane, position in tx.token.positions.items() if lane in lanes})


@cache
def _key_of(partition: int, partitions: int) -> str:
    """A key that falls into a partition."""
    number = 0
    while stable_hash(f"lane-{number}") % partitions != partition:
        number += 1
    return f"lane-{number}"


def _mark(context: ServiceContext, key: str) -> Envelope:
    mark_id = new_id()
    return Envelope(
        id=mark_id,
        type=f"{context.service}.watermark",
        version=1,
        kind=MessageKind.EVENT,
        source=context.service,
        topic=f"{context.service}.events",
        key=key,
        time=context.clock.now(),
        hlc=context.hlc.tick(),
        correlation_id=mark_id,
        body=b"{}",
    )

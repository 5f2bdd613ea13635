"""Sends again what the broker confirmed and lost, for every service, as `freehold outbox resend` does.

Imports the composition root and the runtime's resending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from freehold import ConcurrencyConflict, Service, Settings, Unavailable
from freehold.broker import Broker
from freehold.runtime import Resend, open_broker, open_stores, service_context

__all__ = ["RESEND_SECONDS", "send_again"]

RESEND_SECONDS: Final = 60.0
_BROKER_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 0.5


async def send_again(settings: Mapping[str, Settings], limit_seconds: float = RESEND_SECONDS) -> int:
    """Put the kept messages of each outbox back into it; returns how many. The relays publish them.

    Raises `Unavailable` where the broker or a database is not available in time: the fault then stays on, and this can
    be repeated.
    """
    chosen = next(iter(settings.values()))
    broker = open_broker(chosen.broker, chosen.broker_options)
    try:
        await _wait_for(broker)
        return await _send_all(settings, broker, limit_seconds)
    finally:
        await broker.close()


async def _wait_for(broker: Broker) -> None:
    """Wait until the broker tells its log's identity. Otherwise a loss not noticed yet would be resent only in part."""
    reason = "no answer"
    try:
        async with asyncio.timeout(_BROKER_SECONDS):
            while True:
                try:
                    await broker.open()
                    await broker.log_identity()
                except Unavailable as error:
                    reason = str(error)
                    await asyncio.sleep(_RETRY_SECONDS)  # a broker that is away sends no signal
                else:
                    return
    except TimeoutError as error:
        raise Unavailable(f"the broker is not available: {reason}", hint="heal that first") from error


async def _send_all(settings: Mapping[str, Settings], broker: Broker, limit_seconds: float) -> int:
    left = dict(settings)
    reasons: dict[str, str] = {}
    count = 0
    try:
        async with asyncio.timeout(limit_seconds):
            while left:
                for name in list(left):
                    try:
                        count += await _send_again(left[name], broker)
                    except (Unavailable, ConcurrencyConflict) as error:
                        reasons[name] = str(error)
                    else:
                        del left[name]
                if left:
                    await asyncio.sleep(_RETRY_SECONDS)  # a database that is away sends no signal
    except TimeoutError as error:
        words = "; ".join(
            f"the database of {name} could not be used: {reasons.get(name, 'no answer')}" for name in left
        )
        raise Unavailable(f"after {limit_seconds:g} s: {words}", hint="heal the databases first") from error
    return count


async def _send_again(settings: Settings, broker: Broker) -> int:
    stores = open_stores(settings.database, settings.database_options)
    try:
        await stores.database.open()
        resend = Resend(service_context(Service(settings.service), stores, settings, broker=broker))
        done = await resend.run(await resend.plan(), actor="shop heal", reason="lost by shop break broker-emptied")
        return done.sent_again
    finally:
        await stores.database.close()

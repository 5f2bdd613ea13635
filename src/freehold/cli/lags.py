"""What services have not read yet, as their brokers tell. Face: shared by the commands that look at lag."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from freehold.broker import Broker, BrokerOptions, TopicLag
from freehold.cli.context import PROBE_SECONDS, Opened, ServiceAccess
from freehold.errors import FreeholdError
from freehold.runtime.adapters import open_broker

__all__ = ["broker_lags"]


async def broker_lags(opened: Opened, *, probes: bool = False) -> dict[str, Sequence[TopicLag]]:
    """What each service has not read yet, all asked at once: where a broker waits for something, that is waited for
    once. A broker that does not answer leaves its services out, and is told.

    probes  see as well that the broker takes a record of each service.
    """
    found: dict[str, Sequence[TopicLag]] = {}
    places: dict[tuple[str, BrokerOptions], list[ServiceAccess]] = {}
    for access in opened.services:
        places.setdefault((access.settings.broker, access.settings.broker_options), []).append(access)

    async def ask(broker: Broker, access: ServiceAccess) -> None:
        try:
            found[access.name] = await broker.lag(access.name)
            if probes:
                await broker.probe(access.name, PROBE_SECONDS)
        except FreeholdError as error:
            opened.fail(f"broker of {access.name}", error)

    async def ask_all(url: str, options: BrokerOptions, users: Sequence[ServiceAccess]) -> None:
        broker: Broker | None = None
        try:
            broker = open_broker(url, options)
            await broker.open()
        except FreeholdError as error:
            opened.fail(f"broker of {', '.join(access.name for access in users)}", error)
        else:
            await asyncio.gather(*(ask(broker, access) for access in users))
        finally:
            if broker is not None:
                await broker.close()

    await asyncio.gather(*(ask_all(*place, users) for place, users in places.items()))
    return found

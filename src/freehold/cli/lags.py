"""What services have not read yet, as their brokers tell. Face: shared by the commands that look at lag."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.binding import open_broker
from freehold.broker import Broker, BrokerOptions, TopicLag
from freehold.cli.context import Opened, ServiceAccess
from freehold.cli.output import note
from freehold.errors import FreeholdError

__all__ = ["broker_lags"]


async def broker_lags(opened: Opened) -> dict[str, Sequence[TopicLag]]:
    """What each service has not read yet. A broker that does not answer leaves its services out, and is told."""
    found: dict[str, Sequence[TopicLag]] = {}
    places: dict[tuple[str, BrokerOptions], list[ServiceAccess]] = {}
    for access in opened.services:
        places.setdefault((access.settings.broker, access.settings.broker_options), []).append(access)
    for (url, options), users in places.items():
        broker: Broker | None = None
        try:
            broker = open_broker(url, options)
            await broker.open()
            for access in users:
                found[access.name] = await broker.lag(access.name)
        except FreeholdError as error:
            name = f"broker of {', '.join(access.name for access in users)}"
            opened.failed[name] = error
            note(f"{name}: {error}")
        finally:
            if broker is not None:
                await broker.close()
    return found

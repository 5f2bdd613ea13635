"""NATS JetStream as a broker: `nats://host:port`, several servers of one cluster separated by commas.

Adapter: imports the broker port, the leases pattern and, once a broker is made, the driver `nats-py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from freehold.broker import Broker, BrokerOptions
from freehold.clock import Clock, SystemClock
from freehold.errors import MissingDriver

__all__ = ["NatsAdapter", "adapter"]


class NatsAdapter:
    """Makes NATS brokers from URLs."""

    broker_schemes: Sequence[str] = ("nats",)

    def broker(self, url: str, options: BrokerOptions, clock: Clock | None = None) -> Broker:
        """Make the broker without connecting. Raises `ConfigurationError`, `MissingDriver`."""
        if find_spec("nats") is None:
            raise MissingDriver("nats-py", extra="nats")
        from freehold.adapters.nats.broker import NatsBroker

        return NatsBroker(url, options, clock or SystemClock())


adapter = NatsAdapter()

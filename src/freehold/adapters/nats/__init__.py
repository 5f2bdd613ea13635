"""NATS JetStream as a broker: `nats://host:port`, or several servers of one cluster, separated by commas.

Adapter: imports the broker port, the groups pattern and, when a broker is made, the driver `nats-py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from freehold.adapters.nats.accounts import accounts
from freehold.broker import Broker, BrokerOptions, BrokerRights
from freehold.clock import Clock, SystemClock
from freehold.errors import ConfigurationError, MissingDriver

__all__ = ["NatsAdapter", "adapter"]

_SCHEMES: Final = frozenset({"nats", "tls", "ws", "wss"})


class NatsAdapter:
    """Makes NATS brokers from URLs."""

    broker_schemes: Sequence[str] = ("nats",)

    def broker(self, url: str, options: BrokerOptions, clock: Clock | None = None) -> Broker:
        """Make the broker without connecting. Raises `ConfigurationError`, `MissingDriver`."""
        _check(url)
        if find_spec("nats") is None:
            raise MissingDriver("nats-py", extra="nats")
        from freehold.adapters.nats.broker import NatsBroker

        return NatsBroker(url, options, clock or SystemClock())

    def accounts(self, rights: Sequence[BrokerRights], options: BrokerOptions, passwords: Mapping[str, str]) -> str:
        """Return the `accounts` part of the server's configuration; see `freehold.adapters.nats.accounts`."""
        return accounts(rights, options, passwords)


def _check(url: str) -> None:
    """Raise `ConfigurationError` for a URL that is not valid."""
    for part in url.split(","):
        try:
            parts = urlsplit(part if "://" in part else f"nats://{part}")
            known = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ConfigurationError("the NATS URL cannot be read", hint="nats://host:4222, or several, with commas")


adapter = NatsAdapter()

"""A broker that publishes some messages twice while a switch is on. Imports the broker port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.broker import (
    Broker,
    BrokerFeatures,
    Consumer,
    GroupState,
    Noticing,
    OutgoingMessage,
    PublishOutcome,
    Subscription,
    TopicLag,
)
from freehold.database import CheckResult

__all__ = ["DuplicatingBroker", "Switch"]

EVERY = 10


@dataclass(slots=True)
class Switch:
    """A switch, on or off; read at each publish."""

    on: bool = False


class DuplicatingBroker:
    """Passes everything on to another broker, and every tenth message twice.

    The copies come after their batch, so that a copy also comes behind newer messages, as when a relay crashes before
    it sees the confirmation.
    """

    def __init__(self, broker: Broker, switch: Switch) -> None:
        self._broker = broker
        self._switch = switch
        self._count = 0

    @property
    def features(self) -> BrokerFeatures:
        """What the other broker guarantees."""
        return self._broker.features

    @property
    def partitions(self) -> int:
        """The partitions of the other broker."""
        return self._broker.partitions

    @property
    def notice(self) -> str:
        """The notice of the other broker."""
        return self._broker.notice if isinstance(self._broker, Noticing) else ""

    async def open(self) -> None:
        """Open the other broker."""
        await self._broker.open()

    async def close(self) -> None:
        """Close the other broker."""
        await self._broker.close()

    async def ping(self, timeout_seconds: float) -> None:
        """Ask the other broker."""
        await self._broker.ping(timeout_seconds)

    async def probe(self, name: str, timeout_seconds: float) -> None:
        """Probe the other broker."""
        await self._broker.probe(name, timeout_seconds)

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        """Publish; the outcomes are those of the originals."""
        outcomes = await self._broker.publish(messages, timeout_seconds, log=log)
        copies = self._chosen(messages) if self._switch.on else []
        if copies:
            await self._broker.publish(copies, timeout_seconds, log=log)
        return outcomes

    async def subscribe(self, subscription: Subscription) -> Consumer:
        """Join a group of the other broker."""
        return await self._broker.subscribe(subscription)

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """Ask the other broker."""
        return await self._broker.lag(group)

    async def group_state(self, group: str) -> GroupState:
        """Ask the other broker."""
        return await self._broker.group_state(group)

    async def log_identity(self) -> str:
        """Ask the other broker."""
        return await self._broker.log_identity()

    async def log_mark(self) -> str:
        """Ask the other broker."""
        return await self._broker.log_mark()

    async def log_holds(self, mark: str) -> bool:
        """Ask the other broker."""
        return await self._broker.log_holds(mark)

    async def run_checks(self) -> list[CheckResult]:
        """Run the checks of the other broker."""
        return await self._broker.run_checks()

    def _chosen(self, messages: Sequence[OutgoingMessage]) -> list[OutgoingMessage]:
        chosen: list[OutgoingMessage] = []
        for message in messages:
            self._count += 1
            if self._count % EVERY == 0:
                chosen.append(message)
        return chosen

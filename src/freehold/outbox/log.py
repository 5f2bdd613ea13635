"""The port that remembers which log of a broker a service has worked with. Pattern: imports the foundation, the ports.

A broker whose log is another one than before has lost what it confirmed. That is written down when it is noticed, and
stays until what is kept was sent again, or somebody gives it up. Until then no high-water mark rises (see
`freehold.outbox.store`): a watermark over messages that are on no broker would be wrong. It is pending, and is
published afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["BROKER_LOGS", "BrokerLog", "BrokerLogStore", "KnownLog"]


@dataclass(frozen=True, slots=True)
class BrokerLog:
    """What is known of a broker. `place` names it, `identity` its log, as `Broker.log_identity` says it.

    lost_at  when another log was found in the place of one that may have held messages; None: nothing is to be done.
    losses   how many were written down of this broker.
    is_news  whether this very call found a loss, also where one is open already.
    """

    place: str
    identity: str
    lost_at: datetime | None
    losses: int = 0
    is_news: bool = False


class KnownLog(Protocol):
    """What a relay asks which log the broker has."""

    @property
    def durable(self) -> bool:
        """Whether the broker's log outlives its process: otherwise there is nothing to know."""

    @property
    def identity(self) -> str:
        """The log that the service's database knows as well; empty before the first look."""

    async def look(self, *, went_back: bool = False) -> None:
        """Ask the broker, and write a loss down. `went_back`: a publisher has found out that it is another log, or an
        older copy. Raises `Unavailable`.
        """


class BrokerLogStore(Protocol):
    """Where it is remembered: the service's own database. A row a broker."""

    async def note(self, place: str, identity: str, *, lacks: str | None = None) -> BrokerLog:
        """Remember the log of a broker. Where it is another one, or an older copy of itself, and the service has ever
        staged a message, the loss is written down and counted; the time of one that is open stays. Of several who
        notice it, one is told that it is news. What was kept of how far the log had come is forgotten then.

        `lacks` says that it is an older copy: the mark that was kept when that was found out (see `mark`).
        """

    async def mark(self, place: str) -> str:
        """How far the log of a broker had come when that was kept last; empty where it never was."""

    async def keep_mark(self, place: str, identity: str, mark: str) -> None:
        """Keep how far the log of this identity has come; nothing where another one is noted."""

    async def lost(self) -> Sequence[BrokerLog]:
        """Losses that are open. One round trip."""

    async def end_loss(self, db_tx: DatabaseTransaction, log: BrokerLog) -> bool:
        """End an open loss. False where the log was lost once more, or the loss was ended: nothing is changed."""


BROKER_LOGS: Final[Port[BrokerLogStore]] = Port(
    "logs", "logs of brokers", BrokerLogStore, "freehold.conformance.logs:BrokerLogStoreConformance"
)

"""The port that remembers which log of a broker a service has worked with. Pattern: imports the foundation, the ports.

A broker whose log is another one than before has lost what it confirmed. That is written down when it is noticed, and
stays until what is kept was sent again, or an operator gives it up. A broker may lose its log twice meanwhile:

    t1  a resend reads the open loss: log `second`, one loss
    t2  the broker loses its messages once more, and a relay notes log `third`: two losses
    t3  the resend has moved everything and ends the loss that it read: nothing is changed, the second loss stays open

For this reason a loss is ended with what was read of it, the identity and the number.
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
    """The relay's knowledge of the log that the broker has.

    An implementation keeps:

    1. `identity` names a log only after the service's database knows of it, and of the loss that brought it.
    2. Looks of several callers follow one another. A caller that asked the broker before a loss cannot write the former
       log down after it.
    3. With a broker that is not durable nothing is asked and nothing is written.
    """

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
    """The store of what a service knows of its brokers' logs, in the service's own database: one row for each broker.

    An implementation keeps:

    1. Another log, or an older copy of the known one, is a loss if the service has ever staged a message. If it has
       not, the log is remembered, and no more.
    2. Of several callers that notice a loss at the same time, one is told that it is news, and it is counted once. All
       see the same time.
    3. A loss is open until it is ended. One that comes meanwhile raises the number, and the time of the first stays.
    4. A mark is kept for the log that is noted, and for no other. With another log, or an older copy, it is forgotten.
    5. `end_loss` belongs to the transaction that is passed in; after a rollback the loss is open. It ends the loss only
       if identity and number are those that the caller read, and only once.
    6. While a loss is open, no high-water mark of the outbox rises: a watermark over messages that are on no broker
       would be wrong. It is pending, and is published afterwards.
    """

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

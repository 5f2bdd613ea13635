"""The port of known broker logs: which log of a broker a service has worked with. Pattern: imports the foundation and
the ports.

A broker that has another log than before has lost messages that it confirmed. Such a loss is recorded when it is
noticed. It is open until the kept messages were sent again, or an operator gives them up. A broker may lose its log
again meanwhile:

    t1  a resend reads the open loss: log `second`, one loss
    t2  the broker loses its messages once more, and a relay notes log `third`: two losses
    t3  the resend has moved everything, and ends the loss that it read: nothing changes, and the second loss stays open

For this reason the caller passes what it read, the identity and the number of losses, to end a loss.
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
    """The known log of a broker. `place` identifies the broker, `identity` its log, as `Broker.log_identity` does.

    lost_at  when another log was found in place of one that may have contained messages; None: no loss is open.
    losses   number of losses recorded for this broker.
    is_news  whether this call found a loss, also where one was open already.
    """

    place: str
    identity: str
    lost_at: datetime | None
    losses: int = 0
    is_news: bool = False


class KnownLog(Protocol):
    """The log that the relay takes the broker to have.

    An implementation keeps:

    1. `identity` returns a log only after it, and the loss that it means, are recorded in the service's database.
    2. Concurrent calls of `look` run one after the other. So a caller that asked the broker before a loss cannot record
       the former log after it.
    3. With a broker that is not durable nothing is asked and nothing is written.
    """

    @property
    def durable(self) -> bool:
        """Whether the broker's log outlives its process."""

    @property
    def identity(self) -> str:
        """The recorded log; empty before the first `look`."""

    async def look(self, *, went_back: bool = False) -> None:
        """Ask the broker for its log, and record a loss. `went_back`: a publisher found another log, or an older copy.
        Raises `Unavailable`.
        """


class BrokerLogStore(Protocol):
    """The store of the known logs of brokers, in the service's own database: one row for each broker.

    An implementation keeps:

    1. Another log, or an older copy of the known one, is a loss if the service has ever staged a message. Otherwise the
       log is only recorded.
    2. If several callers notice a loss at the same time, it is counted once, and `is_news` is true for one of them. All
       see the same time.
    3. A loss is open until it is ended. Another loss meanwhile increases the number; the time of the first one stays.
    4. A mark is stored for the recorded log only. It is deleted with another log, or an older copy.
    5. `end_loss` belongs to the transaction that is passed in; after a rollback the loss is open. It ends the loss only
       if identity and number are those that the caller read, and only once.
    6. While a loss is open, no high-water mark of the outbox rises: a watermark over messages that are on no broker
       would be wrong. It is pending, and is published afterwards.
    """

    async def note(self, place: str, identity: str, *, lacks: str | None = None) -> BrokerLog:
        """Record the log of a broker. If it is another one, or an older copy, and the service has ever staged a
        message, this is a loss: it is recorded and counted, and the stored mark is deleted. The time of an open loss
        stays. If several callers notice a loss, `is_news` is true for one of them.

        `lacks` says that the log is an older copy: the stored mark that the log does not contain (see `mark`).
        """

    async def mark(self, place: str) -> str:
        """Return the last stored mark, which says how far the log of a broker had come; empty where there is none."""

    async def keep_mark(self, place: str, identity: str, mark: str) -> None:
        """Store the mark of the log with this identity; does nothing where another log is recorded."""

    async def lost(self) -> Sequence[BrokerLog]:
        """Return the open losses. One round trip."""

    async def end_loss(self, db_tx: DatabaseTransaction, log: BrokerLog) -> bool:
        """End an open loss. False: there was another loss, or the loss was ended already, and nothing was changed."""


BROKER_LOGS: Final[Port[BrokerLogStore]] = Port(
    "logs", "logs of brokers", BrokerLogStore, "freehold.conformance.logs:BrokerLogStoreConformance"
)

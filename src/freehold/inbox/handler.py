"""Declared handlers: the function, its message, and its retry policy. Pattern: imports the foundation and the
transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from freehold.messages import Envelope, MessageType
from freehold.policy import Retry
from freehold.transaction import Transaction

__all__ = ["BatchFunction", "Handler", "HandlerFunction", "ReplyHandler"]

HandlerFunction = Callable[[Any, Transaction], Awaitable[Any]]
BatchFunction = Callable[[Sequence[tuple[Any, Transaction]], Transaction], Awaitable[None]]
"""Handles messages of one transaction, each with its own view of the transaction."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that handles one type of message. `timeout_seconds` None means the service's setting. `in_batches`: it
    takes several messages, as a `BatchFunction`.
    """

    message: MessageType
    function: HandlerFunction
    retry: Retry
    timeout_seconds: float | None = None
    in_batches: bool = False

    @property
    def name(self) -> str:
        """Module and name of the function, for logs and listings."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def call(self, message: object, tx: Transaction) -> Awaitable[Any]:
        """Call the function for one message."""
        return self.function([(message, tx)] if self.in_batches else message, tx)


class ReplyHandler(Protocol):
    """Handles the replies to this service's requests; the saga engine implements it."""

    async def prepare(self, replies: Sequence[Envelope], tx: Transaction) -> None:
        """Load what `on_reply` needs for these replies. Called once in their transaction, before `on_reply`."""

    async def on_reply(self, envelope: Envelope, tx: Transaction, *, cautious: bool = False) -> None:
        """Handle a reply, in the transaction of its receipt. A late or repeated reply is not an error. `cautious`: run
        no code of the service here, since it may have crashed the process.
        """

    async def keep_reply(self, envelope: Envelope, tx: Transaction, error: BaseException) -> None:
        """Store a reply that could not be handled because of `error`, in the transaction of its receipt.

        If this raises, the reply is deferred or dead-lettered like any other message.
        """


@dataclass(slots=True)
class ReplyRouter:
    """Holds the handler of replies; None in a service that orchestrates no saga."""

    handler: ReplyHandler | None = None


@dataclass(slots=True)
class Handlers:
    """The declarations of a service about messages that it handles and sends.

    `reads` are topics in addition to those of the handlers.
    """

    service: str
    handlers: dict[MessageType, Handler] = field(default_factory=dict)
    sent: set[MessageType] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)

    @property
    def topics(self) -> frozenset[str]:
        """All topics that the service reads."""
        return frozenset({each.message.topic for each in self.handlers.values()} | self.reads)

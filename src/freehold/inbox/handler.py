"""A declared handler: the function, the message it takes, how its failures are treated. Pattern: imports the foundation
and the transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from freehold.messages import Envelope, MessageType
from freehold.policy import Retry
from freehold.transaction import Transaction

__all__ = ["Handler", "HandlerFunction", "ReplyHandler"]

HandlerFunction = Callable[[Any, Transaction], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that handles one type of message. `timeout_seconds` None stands for the service's setting."""

    message: MessageType
    function: HandlerFunction
    retry: Retry
    timeout_seconds: float | None = None

    @property
    def name(self) -> str:
        """Where it is, for people: module and function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


class ReplyHandler(Protocol):
    """Who takes the replies to this service's requests: the saga engine."""

    async def prepare(self, replies: Sequence[Envelope], tx: Transaction) -> None:
        """Get ready for `on_reply` with each of these, in this transaction: load together what they need."""

    async def on_reply(self, envelope: Envelope, tx: Transaction, *, cautious: bool = False) -> None:
        """Take a reply, in the transaction of its receipt. A late or repeated one is no error. `cautious`: run no code
        of the user's here, for it may be what ended the process.
        """

    async def keep_reply(self, envelope: Envelope, tx: Transaction, error: BaseException) -> None:
        """Keep a reply that could not be taken because of `error`, in the transaction of its receipt.

        Raises where it cannot be kept either: it is treated like any other message then.
        """


@dataclass(slots=True)
class ReplyRouter:
    """Where the inbox finds who takes replies; nobody does in a service that orchestrates no saga."""

    handler: ReplyHandler | None = None


@dataclass(slots=True)
class Handlers:
    """What a service declares of the messages that it handles and sends.

    `reads` are topics beside those of the handlers. `linger_seconds` is as in `Service`.
    """

    service: str
    handlers: dict[MessageType, Handler] = field(default_factory=dict)
    sent: set[MessageType] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    linger_seconds: float = 0.0

    @property
    def topics(self) -> frozenset[str]:
        """Every topic that the service has to read."""
        return frozenset({each.message.topic for each in self.handlers.values()} | self.reads)

"""Freehold: your services own their data; Freehold keeps it right between them.

What a service needs is here; ports, stores and adapters are in the packages of their own names, HTTP in
`freehold.http`.
"""

from freehold.errors import (
    BrokerError,
    CodecError,
    ConcurrencyConflict,
    ConfigurationError,
    DatabaseError,
    DeclarationError,
    DuplicateMessage,
    FreeholdError,
    LeaseLost,
    MessageRejected,
    MissingDriver,
    NotFound,
    OperationTimeout,
    Unavailable,
    UnknownMessage,
)
from freehold.inbox.outcome import Rejected
from freehold.messages import Envelope, command, event
from freehold.migrations import Migration
from freehold.policy import Retry
from freehold.runtime import Inbox, Outbox, RunningService, Runtime, run
from freehold.saga import CallContext, Saga, call, local, step
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction

__all__ = [
    "BrokerError",
    "CallContext",
    "CodecError",
    "ConcurrencyConflict",
    "ConfigurationError",
    "DatabaseError",
    "DeclarationError",
    "DuplicateMessage",
    "Envelope",
    "FreeholdError",
    "Inbox",
    "LeaseLost",
    "MessageRejected",
    "Migration",
    "MissingDriver",
    "NotFound",
    "OperationTimeout",
    "Outbox",
    "Rejected",
    "Retry",
    "RunningService",
    "Runtime",
    "Saga",
    "Service",
    "Settings",
    "Transaction",
    "Unavailable",
    "UnknownMessage",
    "__version__",
    "call",
    "command",
    "event",
    "local",
    "run",
    "step",
]

__version__ = "0.1.0"

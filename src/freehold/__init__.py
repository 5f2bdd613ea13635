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
from freehold.runtime import RunningService, Runtime, run
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction

__all__ = [
    "BrokerError",
    "CodecError",
    "ConcurrencyConflict",
    "ConfigurationError",
    "DatabaseError",
    "DeclarationError",
    "DuplicateMessage",
    "Envelope",
    "FreeholdError",
    "LeaseLost",
    "MessageRejected",
    "Migration",
    "MissingDriver",
    "NotFound",
    "OperationTimeout",
    "Rejected",
    "Retry",
    "RunningService",
    "Runtime",
    "Service",
    "Settings",
    "Transaction",
    "Unavailable",
    "UnknownMessage",
    "__version__",
    "command",
    "event",
    "run",
]

__version__ = "0.1.0"

"""Freehold: each service owns its database; Freehold keeps the data of all of them consistent.

This package exports what a service needs. The package of a pattern, such as `freehold.saga`, exports its stores and
values, and `freehold.http` exports HTTP. Modules inside the packages are internal. A name is imported when it is first
used, so that a program imports only what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from freehold.aggregate import (
        Aggregate,
        Decider,
        Repository,
        SnapshotPolicy,
        VersionMismatch,
        applies,
        decides,
    )
    from freehold.clock import Clock, SystemClock, stamp_time
    from freehold.errors import (
        BrokerError,
        CodecError,
        ConcurrencyConflict,
        ConfigurationError,
        DatabaseError,
        DeclarationError,
        DuplicateMessage,
        FreeholdError,
        InvalidValue,
        LeaseLost,
        MessageRejected,
        MissingDriver,
        NotFound,
        OperationTimeout,
        PermissionDenied,
        TransactionEnded,
        TransactionMisused,
        Unavailable,
        UnknownMessage,
    )
    from freehold.ids import derive_id, new_id
    from freehold.inbox.reply import Rejected
    from freehold.messages import Envelope, Upcast, command, event, upcaster
    from freehold.migrations import Migration
    from freehold.policy import Retry
    from freehold.projection.declaration import DecodedEvent, KeyLookup, Projection, ProjectionContext, Sink, SinkEvent
    from freehold.projection.view_store import MaterializedView
    from freehold.reconcile import Dataset
    from freehold.runtime import Inbox, Outbox, RunningService, Runtime, run
    from freehold.saga import CallContext, Saga, call, local, step
    from freehold.service import Service
    from freehold.settings import Settings
    from freehold.sql import SqlConnection
    from freehold.transaction import Transaction

__all__ = [
    "Aggregate",
    "BrokerError",
    "CallContext",
    "Clock",
    "CodecError",
    "ConcurrencyConflict",
    "ConfigurationError",
    "DatabaseError",
    "Dataset",
    "Decider",
    "DeclarationError",
    "DecodedEvent",
    "DuplicateMessage",
    "Envelope",
    "FreeholdError",
    "Inbox",
    "InvalidValue",
    "KeyLookup",
    "LeaseLost",
    "MaterializedView",
    "MessageRejected",
    "Migration",
    "MissingDriver",
    "NotFound",
    "OperationTimeout",
    "Outbox",
    "PermissionDenied",
    "Projection",
    "ProjectionContext",
    "Rejected",
    "Repository",
    "Retry",
    "RunningService",
    "Runtime",
    "Saga",
    "Service",
    "Settings",
    "Sink",
    "SinkEvent",
    "SnapshotPolicy",
    "SqlConnection",
    "SystemClock",
    "Transaction",
    "TransactionEnded",
    "TransactionMisused",
    "Unavailable",
    "UnknownMessage",
    "Upcast",
    "VersionMismatch",
    "__version__",
    "applies",
    "call",
    "command",
    "decides",
    "derive_id",
    "event",
    "local",
    "new_id",
    "run",
    "stamp_time",
    "step",
    "upcaster",
]

__version__ = "0.1.0"
_HOMES: Final = {
    "freehold.aggregate": (
        "Aggregate",
        "Decider",
        "Repository",
        "SnapshotPolicy",
        "VersionMismatch",
        "applies",
        "decides",
    ),
    "freehold.clock": ("Clock", "SystemClock", "stamp_time"),
    "freehold.ids": ("derive_id", "new_id"),
    "freehold.errors": (
        "BrokerError",
        "CodecError",
        "ConcurrencyConflict",
        "ConfigurationError",
        "DatabaseError",
        "DeclarationError",
        "DuplicateMessage",
        "FreeholdError",
        "InvalidValue",
        "LeaseLost",
        "MessageRejected",
        "MissingDriver",
        "NotFound",
        "OperationTimeout",
        "PermissionDenied",
        "TransactionEnded",
        "TransactionMisused",
        "Unavailable",
        "UnknownMessage",
    ),
    "freehold.inbox.reply": ("Rejected",),
    "freehold.reconcile": ("Dataset",),
    "freehold.messages": ("Envelope", "Upcast", "command", "event", "upcaster"),
    "freehold.migrations": ("Migration",),
    "freehold.policy": ("Retry",),
    "freehold.projection.declaration": (
        "DecodedEvent",
        "KeyLookup",
        "SinkEvent",
        "Projection",
        "ProjectionContext",
        "Sink",
    ),
    "freehold.projection.view_store": ("MaterializedView",),
    "freehold.runtime": ("Inbox", "Outbox", "RunningService", "Runtime", "run"),
    "freehold.saga": ("CallContext", "Saga", "call", "local", "step"),
    "freehold.service": ("Service",),
    "freehold.settings": ("Settings",),
    "freehold.sql": ("SqlConnection",),
    "freehold.transaction": ("Transaction",),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:
    # Hidden from the type checker, which would otherwise believe that every name exists.

    def __getattr__(name: str) -> object:
        """Import a public name from its home."""
        if name not in _HOME_OF:
            raise AttributeError(f"module 'freehold' has no attribute '{name}'")
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """All names, imported or not."""
        return sorted({*globals(), *__all__})

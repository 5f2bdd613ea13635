"""Typed errors of Freehold. Foundation: imports the standard library only.

Every error says what happened, carries a `hint` that says what to do, and keeps its cause (`raise ... from`). No error
text holds a payload, a secret or personal data: name the message id, the type, the key of a setting, never its value.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Self

__all__ = [
    "BrokerError",
    "CodecError",
    "ConcurrencyConflict",
    "ConfigurationError",
    "DatabaseError",
    "DeclarationError",
    "DuplicateMessage",
    "ErrorMeaning",
    "FreeholdError",
    "InvalidValue",
    "LeaseLost",
    "LogReplaced",
    "MessageRejected",
    "MissingDriver",
    "NotFound",
    "OperationTimeout",
    "PermissionDenied",
    "TransactionEnded",
    "TransactionMisused",
    "Unavailable",
    "UnknownMessage",
    "joined",
]


class FreeholdError(Exception):
    """Base of every error that Freehold raises. `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def of_service(self, service: str) -> Self:
        """Name the service in the message, unless the message does so already; returns the same error."""
        if not self.message.startswith(f"{service}: ") and f"'{service}'" not in self.message:
            self.message = f"{service}: {self.message}"
        return self


class ConfigurationError(FreeholdError):
    """A setting is missing, malformed, or contradicts another; raised before any work begins."""


class DeclarationError(FreeholdError):
    """A message, handler, service or saga is declared wrongly; raised where it is declared."""


class MissingDriver(ConfigurationError):
    """An optional driver is not installed; the hint holds the exact install line."""

    def __init__(self, driver: str, *, extra: str) -> None:
        super().__init__(f"the driver '{driver}' is not installed", hint=f'pip install "freehold[{extra}]"')
        self.driver = driver
        self.extra = extra


class Unavailable(FreeholdError):
    """A database or broker cannot be reached just now; the same call may succeed later."""


class LogReplaced(Unavailable):
    """The broker's log is not the one that the publisher knows: read its identity, and publish again.

    `went_back`: the log has the same identity, but is an older copy: it lacks messages that it had confirmed.
    """

    def __init__(self, message: str, *, hint: str = "", went_back: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.went_back = went_back


class OperationTimeout(Unavailable):
    """A wait reached its time limit; whether the operation took effect is not known."""


class DatabaseError(FreeholdError):
    """A database refused an operation; the same call will fail again."""


class PermissionDenied(DatabaseError):
    """The role of the database connection lacks a right; the text names the object that it may not use."""


class TransactionEnded(DatabaseError):
    """Something that belongs to a transaction was used after its end; the text says how it ended and how long ago.

    The call had no effect.
    """


class TransactionMisused(DatabaseError):
    """A transaction was used in a way that breaks its guarantees: it was ended inside its block, or used from another
    thread or event loop. It is rolled back when its block ends, also if this error was caught.
    """


class ConcurrencyConflict(FreeholdError):
    """Another transaction changed the same data first (version check, serialisation failure, deadlock); try again."""


class LeaseLost(FreeholdError):
    """The lease was taken over by another instance; the holder must discard the work that it did under it."""


class DuplicateMessage(FreeholdError):
    """The message was already handled by this consumer; its effect exists and must not be repeated."""


class BrokerError(FreeholdError):
    """The broker refused an operation; the same call will fail again."""


class MessageRejected(BrokerError):
    """The broker will never store this message (too large, unroutable, not permitted)."""


class CodecError(FreeholdError):
    """A message body or envelope cannot be read or written; the text names the place, never the content."""


class InvalidValue(CodecError):
    """A value is not accepted: a wrong type, not finite, out of range, or a text that some engine cannot store.

    Raised before anything is written. `field` is the path of the field (`lines[2].quantity`, `key`), `reason` says what
    is wrong with it; neither contains the value. Over HTTP it is a 422.
    """

    def __init__(self, field: str, reason: str, *, of: str = "", hint: str = "") -> None:
        super().__init__(f"{of}: {field} {reason}" if of else f"{field} {reason}", hint=hint)
        self.field = field
        self.reason = reason
        self.of = of

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle it by its arguments."""
        return (_invalid_value, (self.field, self.reason, self.of, self.hint))


def _invalid_value(field: str, reason: str, of: str, hint: str) -> InvalidValue:
    return InvalidValue(field, reason, of=of, hint=hint)


class UnknownMessage(CodecError):
    """The type or version of a message is not declared in this process."""


class NotFound(FreeholdError):
    """The requested object does not exist (any more)."""


def joined(errors: Iterable[FreeholdError]) -> FreeholdError:
    """Join the errors of several services into one that contains all messages; a single error is returned unchanged.

    Its class is that of the first error that is not `Unavailable`, or `Unavailable` if all are.
    """
    found = list(errors)
    worst = next((each for each in found if not isinstance(each, Unavailable)), found[0])
    if len(found) == 1:
        return worst
    kinds: tuple[type[FreeholdError], ...] = (
        ConfigurationError,
        DeclarationError,
        DatabaseError,
        BrokerError,
        Unavailable,
    )
    kind = next((kind for kind in kinds if isinstance(worst, kind)), FreeholdError)
    hints = dict.fromkeys(each.hint for each in (worst, *found) if each.hint)
    error = kind("; ".join(each.message for each in found), hint="; ".join(hints))
    error.__cause__ = worst
    return error


class ErrorMeaning(StrEnum):
    """What an error code of an engine means to the caller; each adapter has one table of them."""

    OUTAGE = "outage"
    """The same call may succeed later: wait and keep order (`Unavailable`)."""
    TIMEOUT = "timeout"
    """A wait reached its limit (`OperationTimeout`)."""
    CONFLICT = "conflict"
    """Another transaction was first: run the transaction again (`ConcurrencyConflict`)."""
    REFUSAL = "refusal"
    """The engine will never do this (`DatabaseError`, `MessageRejected`)."""
    CONFIGURATION = "configuration"
    """A setting is wrong (`ConfigurationError`)."""
    ANSWER = "answer"
    """A result that the caller handles itself: what it looked for does not exist, or was changed."""

"""Errors of the providers' client and server. Imports Freehold's errors."""

from __future__ import annotations

from freehold import FreeholdError, Unavailable

__all__ = [
    "LedgerDamaged",
    "LedgerInUse",
    "LedgerWriteFailed",
    "ProviderConflict",
    "ProviderNotFound",
    "ProviderRefused",
    "ProviderUnavailable",
]


class ProviderUnavailable(Unavailable):
    """No response, or a 5xx. Retry with the same idempotency key.

    `outcome_unknown`: the request may have had its effect, since it was sent and no response came.
    """

    def __init__(self, message: str, *, outcome_unknown: bool) -> None:
        super().__init__(message, hint="check that the shop runs, and try again; a write with the same idempotency key")
        self.outcome_unknown = outcome_unknown


class ProviderRefused(FreeholdError):
    """The request can never succeed: it is malformed, or its idempotency key belongs to another request.

    `code` is the provider's stable word, `status` its HTTP status.
    """

    def __init__(self, message: str, *, code: str, status: int, hint: str = "do not repeat the request") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status


class ProviderConflict(ProviderRefused):
    """The hold or capture is in a state that forbids it; `code` says which, e.g. `hold-voided`, `hold-captured`."""


class ProviderNotFound(ProviderRefused):
    """The provider has no such hold or capture."""


class LedgerInUse(FreeholdError):
    """Another process has the ledger file open."""


class LedgerDamaged(FreeholdError):
    """The ledger file has something that is no entry before its end, where a torn write may be."""


class LedgerWriteFailed(FreeholdError):
    """An entry could not be written; it had no effect."""

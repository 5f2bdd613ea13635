"""The outside world of the shop: a payment provider and an e-mail provider, and the client for them.

They are doubles in one process of their own with an append-only ledger, and behave as real ones do: holds, captures,
voids, refunds, declines, slowness, lost responses and idempotency keys. The shop's services import the client from
here; `python -m freehold_shop.providers` starts the server.
"""

from freehold_shop.providers.client import ProvidersClient
from freehold_shop.providers.errors import (
    ProviderConflict,
    ProviderNotFound,
    ProviderRefused,
    ProviderUnavailable,
)
from freehold_shop.providers.wire import (
    Captured,
    Declined,
    DeclineRules,
    EmailRules,
    EmailSent,
    EntryKind,
    Held,
    LedgerEntry,
    OrderTotals,
    Refunded,
    Rules,
    SummaryPage,
    Voided,
)

__all__ = [
    "Captured",
    "DeclineRules",
    "Declined",
    "EmailRules",
    "EmailSent",
    "EntryKind",
    "Held",
    "LedgerEntry",
    "OrderTotals",
    "ProviderConflict",
    "ProviderNotFound",
    "ProviderRefused",
    "ProviderUnavailable",
    "ProvidersClient",
    "Refunded",
    "Rules",
    "SummaryPage",
    "Voided",
]

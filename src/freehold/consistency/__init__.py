"""Consistency tokens: what a write has reached, and what a read has to wait for."""

from freehold.consistency.signer import TokenRefused, TokenSigner, merge_headers
from freehold.consistency.token import NOTHING, Token
from freehold.consistency.watcher import Behind, Fresh, Freshness, Stale, Stalled

__all__ = [
    "NOTHING",
    "Behind",
    "Fresh",
    "Freshness",
    "Stale",
    "Stalled",
    "Token",
    "TokenRefused",
    "TokenSigner",
    "merge_headers",
]

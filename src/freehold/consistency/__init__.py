"""Consistency tokens: what a write has reached, and what a read has to wait for."""

from freehold.consistency.signer import InvalidToken, TokenSigner, merge_headers
from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.consistency.watcher import Fresh, Freshness, PositionLag, Stale, Stalled

__all__ = [
    "EMPTY_TOKEN",
    "ConsistencyToken",
    "Fresh",
    "Freshness",
    "InvalidToken",
    "PositionLag",
    "Stale",
    "Stalled",
    "TokenSigner",
    "merge_headers",
]

"""Consistency tokens: the positions that a write has reached, and that a later read waits for."""

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

"""Consistency tokens: what a write has reached, and what a read has to wait for."""

from freehold.consistency.token import NOTHING, Token

__all__ = ["NOTHING", "Token"]

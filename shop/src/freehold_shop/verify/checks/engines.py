"""Databases: none has a hanging transaction. Imports scratch and model."""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["ENGINE_CHECKS"]


def no_hanging_transactions(scratch: Scratch) -> Check:
    """No transaction is prepared, none has idled for a minute, and no lock blocks writes."""
    return scratch.check(
        "no-hanging-transactions",
        "no prepared or hanging transaction in any database",
        "SELECT service, what FROM engine_finding",
    )


ENGINE_CHECKS = (no_hanging_transactions,)

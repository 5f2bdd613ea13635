"""The audit pattern: its command. Pattern: a declaration."""

from __future__ import annotations

from typing import Final

from freehold.pattern import Pattern

__all__ = ["PATTERN"]

PATTERN: Final = Pattern[None](
    "audit",
    "records the actions of operators",
    declares=lambda _: None,
    commands={"audit": "freehold.audit.commands:command"},
)

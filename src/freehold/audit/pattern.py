"""Audit as a pattern: its command. Pattern: a declaration."""

from __future__ import annotations

from typing import Final

from freehold.pattern import Pattern

__all__ = ["PATTERN"]

PATTERN: Final = Pattern[None](
    "audit",
    "records who did what by command, and why",
    declares=lambda _: None,
    commands={"audit": "freehold.audit.commands:command"},
)

"""Aggregates as a pattern: its command. Pattern: a declaration."""

from __future__ import annotations

from typing import Final

from freehold.pattern import Pattern

__all__ = ["PATTERN"]

PATTERN: Final = Pattern[None](
    "aggregate",
    "keeps what a business object has decided as events",
    declares=lambda _: None,
    commands={"snapshots": "freehold.aggregate.commands:command"},
)

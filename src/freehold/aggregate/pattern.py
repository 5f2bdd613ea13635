"""Aggregates as a pattern: the command for their snapshots. Pattern: a declaration."""

from __future__ import annotations

from typing import Final

from freehold.pattern import Pattern

__all__ = ["PATTERN"]

PATTERN: Final = Pattern[None](
    "aggregate",
    "stores the state of a business object as a stream of events",
    declares=lambda _: None,
    commands={"snapshots": "freehold.aggregate.commands:command"},
)

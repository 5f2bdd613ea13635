"""Consistency tokens as a pattern: the gate at which reads wait. Pattern: a declaration."""

from __future__ import annotations

from typing import Final

from freehold.consistency.gate import WAIT_SECONDS, FreshnessGate
from freehold.consistency.store import PROGRESSED
from freehold.context import ServiceContext
from freehold.pattern import Pattern

__all__ = ["PATTERN"]


def _wire(context: ServiceContext) -> None:
    gate = FreshnessGate(context)
    context.offer(FreshnessGate, gate)
    context.on(PROGRESSED, gate.wake)
    context.on_close(gate.close)


PATTERN: Final = Pattern[None](
    "consistency",
    "lets a read wait until it shows what its caller has seen",
    declares=lambda _: None,
    wire=_wire,
    families=(WAIT_SECONDS,),
)

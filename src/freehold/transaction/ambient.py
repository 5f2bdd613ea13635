"""The context variables of a task that its transactions read. Imports the consistency token only."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken

__all__ = ["current_token", "current_trace_parent", "token_witness"]

current_trace_parent: ContextVar[str | None] = ContextVar("freehold_trace_parent", default=None)
"""W3C `traceparent` of this task's work; the HTTP integration and the consumer set it."""
current_token: ContextVar[ConsistencyToken] = ContextVar("freehold_token", default=EMPTY_TOKEN)
"""Consistency token of this task's caller: it came with the HTTP request."""
token_witness: ContextVar[Callable[[ConsistencyToken], None] | None] = ContextVar(
    "freehold_token_witness", default=None
)
"""Called after each commit of this task with the transaction's token, which the HTTP response then contains."""

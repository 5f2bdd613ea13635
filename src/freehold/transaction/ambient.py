"""The context variables of a task that its transactions read. Imports the foundation and the consistency
token."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.messages import Envelope
from freehold.tracecontext import TraceContext

__all__ = ["current_token", "current_trace", "token_witness", "trace_of"]

current_trace: ContextVar[TraceContext | None] = ContextVar("freehold_trace", default=None)
"""The trace of this task's work; the HTTP integration and the consumer set it."""
current_token: ContextVar[ConsistencyToken] = ContextVar("freehold_token", default=EMPTY_TOKEN)
"""Consistency token of this task's caller: it came with the HTTP request."""
token_witness: ContextVar[Callable[[ConsistencyToken], None] | None] = ContextVar(
    "freehold_token_witness", default=None
)
"""Called after each commit of this task with the transaction's token, which the HTTP response then contains."""


def trace_of(cause: Envelope | None) -> TraceContext | None:
    """The trace of what is published here: that of the task, or else that of the message that caused it."""
    current = current_trace.get()
    if current is None and cause is not None:
        return TraceContext.parse(cause.trace_parent, cause.trace_state)
    return current

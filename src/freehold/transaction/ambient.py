"""What goes on around a transaction in the same task. Imports the consistency token only."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken

__all__ = ["current_token", "current_trace_parent", "token_witness"]

current_trace_parent: ContextVar[str | None] = ContextVar("freehold_trace_parent", default=None)
"""W3C `traceparent` of what is going on in this task; the HTTP integration and the consumer set it."""
current_token: ContextVar[ConsistencyToken] = ContextVar("freehold_token", default=EMPTY_TOKEN)
"""What the caller of this task has seen: the token that came with an HTTP request."""
token_witness: ContextVar[Callable[[ConsistencyToken], None] | None] = ContextVar(
    "freehold_token_witness", default=None
)
"""Who is told what each transaction of this task has reached, once it is committed: the answer to an HTTP request."""

"""The context of one request: transaction, correlation id, trace. Runtime: imports the foundation and the runtime."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.errors import TransactionEnded
from freehold.ids import new_id
from freehold.runtime import RunningService
from freehold.tracecontext import TraceContext
from freehold.transaction import Transaction

__all__ = ["CONSISTENCY_HEADER", "CORRELATION_HEADER", "FRESHNESS_HEADER", "RequestContext"]

CORRELATION_HEADER = "x-correlation-id"
CONSISTENCY_HEADER = "freehold-consistency"
"""Header of a request with tokens, repeated or joined by commas, and of a response with one token."""
FRESHNESS_HEADER = "freehold-freshness"
"""Header of a response that says whether its data is as new as the request's tokens."""


class _RollBack(Exception):
    """Makes a transaction's block roll back."""


class RequestContext:
    """The context of one request in a running service. The transaction is opened when it is first requested.

    `token` covers what the caller has seen, and what the request's transactions have committed. `response_headers` are
    added to the response, also to an error.
    """

    def __init__(self, running: RunningService, headers: Iterable[tuple[bytes, bytes]]) -> None:
        headers = tuple(headers)
        found = {name: value for name, value in headers if name in _WANTED}
        self.running = running
        self.correlation_id = _uuid(found.get(CORRELATION_HEADER.encode(), b"")) or new_id()
        self.idempotency_key = found.get(b"idempotency-key", b"").decode("latin-1")
        self.keyed = b"idempotency-key" in found
        """Whether the request has an idempotency key, valid or not."""
        self.trace = _trace(headers, found.get(b"traceparent", b""))
        self.response_headers: dict[bytes, bytes] = {}
        self.token = EMPTY_TOKEN
        self._tokens = [value.decode("latin-1") for name, value in headers if name == _CONSISTENCY]
        self._block: AbstractAsyncContextManager[Transaction] | None = None
        self._transaction: Transaction | None = None
        self._opening = asyncio.Lock()
        self._ended = ""

    def verify_tokens(self) -> None:
        """Verify the request's tokens. Raises `InvalidToken`. Without a secret they are ignored."""
        signer = self.running.signer
        if self._tokens and signer is not None:
            self.token = signer.verify_all(self._tokens)

    def note(self, token: ConsistencyToken) -> None:
        """Add the positions that a transaction of this request has committed."""
        self.token = self.token.merged(token)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._block is not None

    def signed_token(self) -> str:
        """The token of the response; empty if there are no positions, or no secret to sign with."""
        signer = self.running.signer
        return signer.sign(self.token) if signer is not None and self.token else ""

    async def transaction(self) -> Transaction:
        """The transaction of this request: the same one at each call.

        Raises `Unavailable`, and `TransactionEnded` once the response is sent, also if no transaction was opened.
        """
        async with self._opening:
            if self._ended:
                raise TransactionEnded(
                    f"the transaction of this request was {self._ended} before its response was sent",
                    hint="open another one for work after the response: async with running.transaction()",
                )
            if self._transaction is None:
                block = self.running.transaction(correlation_id=self.correlation_id)
                self._transaction = await block.__aenter__()
                self._block = block
        return self._transaction

    async def commit(self) -> None:
        """Commit the transaction, if one was opened. If the commit fails, its error is raised, after a rollback."""
        block, self._block = self._block, None
        self._ended = self._ended or "committed"
        if block is not None:
            await block.__aexit__(None, None, None)

    async def roll_back(self) -> None:
        """Roll back the transaction, if one is open."""
        block, self._block = self._block, None
        self._ended = self._ended or "rolled back"
        if block is not None:
            error = _RollBack()
            with contextlib.suppress(_RollBack):
                await block.__aexit__(_RollBack, error, None)


_CONSISTENCY = CONSISTENCY_HEADER.encode()
_WANTED = frozenset({CORRELATION_HEADER.encode(), b"idempotency-key", b"traceparent"})


def _uuid(value: bytes) -> UUID | None:
    try:
        return UUID(value.decode("ascii"))
    except ValueError:
        return None


def _trace(headers: Iterable[tuple[bytes, bytes]], parent: bytes) -> TraceContext | None:
    """The trace of the caller; None where it sent none. `tracestate` may be in several headers."""
    if not parent:
        return None
    state = b",".join(value for name, value in headers if name == b"tracestate")
    return TraceContext.parse(parent.decode("latin-1").strip(), state.decode("latin-1"))

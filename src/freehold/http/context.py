"""What belongs to one request: transaction, correlation id, trace. Runtime: imports the foundation and the runtime."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.errors import TransactionEnded
from freehold.ids import new_id
from freehold.runtime import RunningService
from freehold.transaction import Transaction

__all__ = ["CONSISTENCY_HEADER", "CORRELATION_HEADER", "FRESHNESS_HEADER", "RequestContext"]

CORRELATION_HEADER = "x-correlation-id"
CONSISTENCY_HEADER = "freehold-consistency"
"""Brings tokens with a request, repeated or joined by commas, and gives one with the answer."""
FRESHNESS_HEADER = "freehold-freshness"
"""Says whether an answer has seen what the request's tokens have."""
_TRACE_PARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


class _TakenBack(Exception):
    """Ends a transaction's block without its commit."""


class RequestContext:
    """One request's share of a running service. The transaction is opened when it is first asked for.

    `token` is what the caller has seen, and what the request's transactions have reached with their commits;
    `answer_headers` go with the answer, whatever becomes of it.
    """

    def __init__(self, running: RunningService, headers: Iterable[tuple[bytes, bytes]]) -> None:
        headers = tuple(headers)
        found = {name: value for name, value in headers if name in _WANTED}
        self.running = running
        self.correlation_id = _uuid(found.get(CORRELATION_HEADER.encode(), b"")) or new_id()
        self.idempotency_key = found.get(b"idempotency-key", b"").decode("latin-1")
        self.keyed = b"idempotency-key" in found
        """Whether the caller gave an idempotency key, be it a bad one."""
        self.trace_parent = _trace_parent(found.get(b"traceparent", b""), self.correlation_id)
        self.answer_headers: dict[bytes, bytes] = {}
        self.token = EMPTY_TOKEN
        self._tokens = [value.decode("latin-1") for name, value in headers if name == _CONSISTENCY]
        self._block: AbstractAsyncContextManager[Transaction] | None = None
        self._transaction: Transaction | None = None
        self._opening = asyncio.Lock()
        self._ended = ""

    def take_tokens(self) -> None:
        """Verify what the request brought. Raises `TokenRefused`. Without a secret nothing is taken."""
        signer = self.running.signer
        if self._tokens and signer is not None:
            self.token = signer.verify_all(self._tokens)

    def note(self, token: ConsistencyToken) -> None:
        """Add what a transaction of this request has reached."""
        self.token = self.token.merged(token)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._block is not None

    def signed_token(self) -> str:
        """What the answer gives back; empty where there is nothing to say, or no secret to sign with."""
        signer = self.running.signer
        return signer.sign(self.token) if signer is not None and self.token else ""

    async def transaction(self) -> Transaction:
        """The transaction of this request, one for all who ask.

        Raises `TransactionEnded` once it has ended, which is before the answer is sent, also where there was none;
        `Unavailable`.
        """
        async with self._opening:
            if self._ended:
                raise TransactionEnded(
                    f"the transaction of this request was {self._ended} before its answer was sent",
                    hint="open another one for what comes behind the answer: async with running.transaction()",
                )
            if self._transaction is None:
                block = self.running.transaction(correlation_id=self.correlation_id)
                self._transaction = await block.__aenter__()
                self._block = block
        return self._transaction

    async def commit(self) -> None:
        """Commit, where a transaction was opened. Raises what the commit does; it is rolled back then."""
        block, self._block = self._block, None
        self._ended = self._ended or "committed"
        if block is not None:
            await block.__aexit__(None, None, None)

    async def roll_back(self) -> None:
        """Roll back, where a transaction is open."""
        block, self._block = self._block, None
        self._ended = self._ended or "rolled back"
        if block is not None:
            error = _TakenBack()
            with contextlib.suppress(_TakenBack):
                await block.__aexit__(_TakenBack, error, None)


_CONSISTENCY = CONSISTENCY_HEADER.encode()
_WANTED = frozenset({CORRELATION_HEADER.encode(), b"idempotency-key", b"traceparent"})


def _uuid(value: bytes) -> UUID | None:
    try:
        return UUID(value.decode("ascii"))
    except ValueError:
        return None


def _trace_parent(value: bytes, correlation_id: UUID) -> str:
    """Go on with the caller's trace, or begin one that is found by the correlation id."""
    text = value.decode("latin-1")
    if _TRACE_PARENT.match(text):
        return text
    return f"00-{correlation_id.hex}-{os.urandom(8).hex()}-00"

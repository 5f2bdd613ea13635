"""The idempotency port: stored responses, for the Idempotency-Key header. Pattern: imports the foundation and the
ports.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["IDEMPOTENCY", "IdempotencyStore", "StoredResponse"]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The response to a request.

    fingerprint   a digest of the request's method, path and body.
    content_type  empty where the response has none.
    token         text of the consistency token of the response's transaction. A repeated request gets it too, so that
                  later reads see the effect.
    headers       the other headers of the response, in their order, repeated ones included; names in lower case.
    """

    fingerprint: str
    status: int
    content_type: str
    body: bytes = field(repr=False)
    token: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


class IdempotencyStore(Protocol):
    """The store of responses to requests, by idempotency key, in the service's own database.

    An implementation keeps:

    1. Claim and response belong to the transaction of the effect, which is passed in. A request that fails leaves no
       claim, and may be sent again.
    2. Of several concurrent requests with one key, one has its effect. The others wait for the end of its transaction,
       within the lock time limit: after the commit they get the response, after a rollback one of them claims the key.
    3. A key belongs to its scope: the same text in another scope is another key.
    4. A response is returned as it was stored, with the fingerprint of the first request, and with repeated headers in
       their order.
    5. A key that was claimed and never completed is a `ConcurrencyConflict`: its effect may exist, and there is no
       response. Completing a key that was not claimed is `NotFound`.
    6. `used` claims nothing.
    7. Pruning goes by age, and each call deletes a bounded number; younger responses stay.
    """

    async def claim(self, db_tx: DatabaseTransaction, scope: str, key: str, fingerprint: str) -> StoredResponse | None:
        """Claim the key in this transaction: None where it is new. Otherwise returns the stored response, whose
        fingerprint the caller compares. Waits for a concurrent claim, within the lock time limit.
        """

    async def complete(self, db_tx: DatabaseTransaction, scope: str, key: str, answer: StoredResponse) -> None:
        """Store the response, in the same transaction."""

    async def used(self, db_tx: DatabaseTransaction, scope: str, key: str | None = None) -> bool:
        """Whether this key was used in the scope; with None, whether any was."""

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete responses that are older than this, `limit` at most; returns how many."""


IDEMPOTENCY: Final[Port[IdempotencyStore]] = Port(
    "idempotency", "stored responses", IdempotencyStore, "freehold.conformance.idempotency:IdempotencyStoreConformance"
)

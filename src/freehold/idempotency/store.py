"""The port behind the Idempotency-Key header and behind audited actions. Pattern: imports the foundation and the
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
    """What was answered to a request. `fingerprint` is a digest of method, path and body; `token` the text of the
    consistency token that the answer's transaction had: whoever asks again has to see the effect as well.

    `content_type` is empty where the answer had none. `headers` are those besides it that are given again, names in
    lower case, in their order, repeated ones too.
    """

    fingerprint: str
    status: int
    content_type: str
    body: bytes = field(repr=False)
    token: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


class IdempotencyStore(Protocol):
    """The store of answers to requests, by idempotency key, in the service's own database.

    An implementation keeps:

    1. Claim and answer belong to the transaction that has the effect, which is passed in. A request that fails leaves
       no claim, and may be sent again.
    2. Of several requests with one key at the same time one has its effect. The others wait for the end of its
       transaction, within the lock time limit: after the commit they get the answer, after a rollback one of them
       claims the key.
    3. A key is one of its scope: the same text in another scope is another key.
    4. An answer comes as it was kept, with the fingerprint of the first request, and with repeated headers in their
       order.
    5. A key that was claimed and never answered is a `ConcurrencyConflict`: its effect may exist, and there is nothing
       to answer. Completing a key that was not claimed is `NotFound`.
    6. Asking whether a key was used claims nothing.
    7. Pruning goes by age, in bounded portions; a younger answer stays.
    """

    async def claim(self, db_tx: DatabaseTransaction, scope: str, key: str, fingerprint: str) -> StoredResponse | None:
        """Reserve the key in this transaction: None where it is new. A concurrent holder is waited for (lock time
        limit).

        Returns the stored answer otherwise, whose fingerprint the caller compares.
        """

    async def complete(self, db_tx: DatabaseTransaction, scope: str, key: str, answer: StoredResponse) -> None:
        """Keep the answer, in the same transaction."""

    async def used(self, db_tx: DatabaseTransaction, scope: str, key: str | None = None) -> bool:
        """Whether this key, or any where None is given, was used in the scope."""

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete answers that are older than this."""


IDEMPOTENCY: Final[Port[IdempotencyStore]] = Port(
    "idempotency", "stored responses", IdempotencyStore, "freehold.conformance.idempotency:IdempotencyStoreConformance"
)

"""Responses by idempotency key on an SQL database. Base of the SQL engines: imports its siblings and the port.

The claim is a row that is written before the effect. A second request with the same key waits at the unique index until
the first one's transaction has ended. Then it reads the response, or, after a rollback, claims the key itself.
"""

from __future__ import annotations

import json
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.prune import prune_unlocked
from freehold.adapters.sql.families.upsert import insert_one, inserted
from freehold.adapters.sql.store import SqlStore
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.idempotency.store import IdempotencyStore, StoredResponse

__all__ = ["SqlIdempotencyStore"]

_READ: Final = """\
SELECT fingerprint, status, content_type, body, token, headers FROM freehold_idempotency
WHERE scope = $1 AND key = $2"""
_USED: Final = "SELECT 1 FROM freehold_idempotency WHERE scope = $1 AND key = $2"
_ANY_USED: Final = "SELECT 1 FROM freehold_idempotency WHERE scope = $1 LIMIT 1"
_COMPLETE: Final = """\
UPDATE freehold_idempotency
SET fingerprint = $3, status = $4, content_type = $5, body = $6, token = $7, headers = $8
WHERE scope = $1 AND key = $2"""


class SqlIdempotencyStore(SqlStore, IdempotencyStore):
    """Stores claims and responses by scope and key."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._claim = insert_one(
            dialect,
            f"INSERT INTO freehold_idempotency (claimed_at, scope, key, fingerprint) VALUES ({now}, $2, $3, $4)",
        )
        old = f"""\
SELECT scope, key FROM freehold_idempotency WHERE claimed_at < {dialect.later_sql(now, 2)}
ORDER BY claimed_at LIMIT $3"""
        self._prune = prune_unlocked(dialect, "freehold_idempotency", "(scope, key)", old)

    async def claim(self, db_tx: DatabaseTransaction, scope: str, key: str, fingerprint: str) -> StoredResponse | None:
        """Claim the key, or read the stored response. Raises `ConcurrencyConflict` for a claim without a response."""
        sql = sql_of(db_tx)
        if await inserted(sql, self._dialect, self._claim, (self._dialect.now(), scope, key, fingerprint)):
            return None
        return await self._read(sql, scope, key)

    async def complete(self, db_tx: DatabaseTransaction, scope: str, key: str, answer: StoredResponse) -> None:
        """Store the response. Raises `NotFound` where the key was not claimed."""
        headers = json.dumps(answer.headers) if answer.headers else None
        parameters = (
            scope,
            key,
            answer.fingerprint,
            answer.status,
            answer.content_type,
            answer.body,
            answer.token,
            headers,
        )
        if not await sql_of(db_tx).execute(_COMPLETE, parameters):
            raise NotFound("this idempotency key was not claimed", hint="claim it first, in the same transaction")

    async def used(self, db_tx: DatabaseTransaction, scope: str, key: str | None = None) -> bool:
        """Whether the key, or any key of the scope, was claimed; by the index of the primary key."""
        if key is None:
            return bool(await sql_of(db_tx).fetch(_ANY_USED, (scope,)))
        return bool(await sql_of(db_tx).fetch(_USED, (scope, key)))

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old answers."""
        async with self._database.direct() as sql:
            return await sql.execute(self._prune, (self._dialect.now(), -older_than_seconds, limit))

    async def _read(self, sql: SqlConnection, scope: str, key: str) -> StoredResponse:
        rows = await sql.fetch(f"{_READ} {self._dialect.lock_shared}", (scope, key))
        if not rows:
            raise ConcurrencyConflict("the response was pruned while it was read", hint="send the request again")
        fingerprint, status, content_type, body, token, headers = rows[0]
        if status is None:
            raise ConcurrencyConflict(
                "this idempotency key was claimed without a response",
                hint="complete a claim in the transaction that made it",
            )
        kept = tuple((name, value) for name, value in json.loads(headers)) if headers else ()
        return StoredResponse(fingerprint, status, content_type, bytes(body), token or "", kept)

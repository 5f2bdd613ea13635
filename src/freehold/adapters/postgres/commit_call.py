"""Calls of functions that go with the COMMIT of a transaction. Imports the SQL base and its sibling `literals`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from freehold.adapters.postgres.literals import is_writable
from freehold.adapters.sql.engine.commit_text import FunctionCall, closing_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.database import DatabaseTransaction

__all__ = ["add_call"]


def add_call(
    db_tx: DatabaseTransaction,
    dialect: Dialect,
    function: str,
    arguments: Sequence[object],
    types: tuple[str, ...],
    *,
    texts: Iterable[str],
) -> bool:
    """Send a call with the COMMIT of this transaction. False where it cannot be, because the COMMIT is not Freehold's,
    or PostgreSQL cannot store one of the `texts`: the caller runs a statement with parameters.

    The function returns one row, and nothing of its result is needed.
    """
    closing = closing_of(db_tx)
    if closing is None or not all(map(is_writable, texts)):
        return False
    prefix = f'"{dialect.schema}".' if dialect.schema else ""
    closing.add(FunctionCall(prefix + function, arguments, types))
    return True

"""What goes to the server in one message with the COMMIT of a transaction. Imports the standard library only.

An engine whose driver can send several statements as one text saves a round trip with it. The statements run right
before the COMMIT, in the order in which they were added. If one fails, the server skips the rest of the text, and the
transaction is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Closing", "closing_of"]


@dataclass(slots=True)
class Closing:
    """The statements of one transaction, with their values written in. Each returns one row of one column.

    check       raises where the transaction is not open any more.
    statements  the texts.
    tellers     for each of them what is called with its result, as the engine writes it, once the COMMIT is known to
                have succeeded; None where nobody needs it.
    """

    check: Callable[[], None]
    statements: list[str] = field(default_factory=list)
    tellers: list[Callable[[str], None] | None] = field(default_factory=list)

    def add(self, statement: str, tell: Callable[[str], None] | None = None) -> None:
        """Add a statement; `tell` is called with its result. Raises `TransactionEnded`."""
        self.check()
        self.statements.append(statement)
        self.tellers.append(tell)

    def tell(self, results: Sequence[str]) -> None:
        """Pass the results on."""
        for tell, result in zip(self.tellers, results, strict=False):
            if tell is not None:
                tell(result)


def closing_of(db_tx: object) -> Closing | None:
    """What goes with the COMMIT of a transaction; None where Freehold does not end it, or the engine cannot do that."""
    closing = getattr(db_tx, "closing", None)
    return closing if isinstance(closing, Closing) else None

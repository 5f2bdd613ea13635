"""What goes to the server in one round trip with the COMMIT of a transaction. Imports the standard library only.

The calls run right before the COMMIT, in the order in which they were added. If one fails, the server skips the rest,
and the transaction is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Closing", "FunctionCall", "closing_of"]


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call of a function in the database, which returns one row of one column. `types` are those of the arguments, as
    SQL writes them, after which a cast may follow: `text[]::float8[]`.
    """

    function: str
    arguments: Sequence[object]
    types: tuple[str, ...]


@dataclass(slots=True)
class Closing:
    """The calls of one transaction.

    check    raises where the transaction is not open any more.
    calls    the calls.
    tellers  for each of them what is called with its result, as the engine writes it, once the COMMIT is known to have
             succeeded; None where nobody needs it.
    """

    check: Callable[[], None]
    calls: list[FunctionCall] = field(default_factory=list)
    tellers: list[Callable[[str], None] | None] = field(default_factory=list)

    def add(self, call: FunctionCall, tell: Callable[[str], None] | None = None) -> None:
        """Add a call; `tell` is called with its result. Raises `TransactionEnded`."""
        self.check()
        self.calls.append(call)
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

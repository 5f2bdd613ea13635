"""Dead letters: what could not be handled or sent, kept to be understood, edited, replayed or discarded."""

from freehold.deadletters.store import (
    DEAD_LETTERS,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterStatus,
    DeadLetterStore,
    Direction,
)

__all__ = ["DEAD_LETTERS", "DeadLetter", "DeadLetterFilter", "DeadLetterStatus", "DeadLetterStore", "Direction"]

"""Dead letters: messages that could not be handled or sent, kept until an operator replays or discards them."""

from freehold.deadletters.store import (
    DEAD_LETTERS,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterStatus,
    DeadLetterStore,
    Direction,
)

__all__ = ["DEAD_LETTERS", "DeadLetter", "DeadLetterFilter", "DeadLetterStatus", "DeadLetterStore", "Direction"]

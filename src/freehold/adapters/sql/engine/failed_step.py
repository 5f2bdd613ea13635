"""What is said of a migration that an engine refused: its name, the statement, the reason, what is left, how to go on.

Imports the foundation. The text of a migration is source, and may be told; values that it writes are cut off, and of
the engine's own words only those are told that cannot quote a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from freehold.errors import ConcurrencyConflict, DatabaseError, FreeholdError, Unavailable
from freehold.failures import plain_text

__all__ = ["failed_step", "first_words"]

_WORDS_MAX: Final = 80
_COMMENTS: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_VALUES_BEGIN: Final = re.compile(r"[('$]|\s(?:SET|VALUES|WHERE|AS|USING|DEFAULT|FROM)\b|\sSELECT\b", re.IGNORECASE)


def first_words(statement: str) -> str:
    """What a statement does to what: `CREATE INDEX thing_n ON thing`, `INSERT INTO thing`; nothing that it writes."""
    text = " ".join(_COMMENTS.sub(" ", statement).split())
    begins = _VALUES_BEGIN.search(text)
    words = (text[: begins.start()] if begins else text).strip() or text.partition(" ")[0]
    return plain_text(words, _WORDS_MAX)


def failed_step(
    label: str, statements: Sequence[str], number: int, error: FreeholdError, *, reason: str, before: int
) -> FreeholdError:
    """The error of a step in which statement `number` (from 1; 0 for its own commit) failed. It is an outage where the
    engine's error is one.

    reason  what the engine says, where it may be told. before: how many steps of this upgrade were applied before it.
    """
    unknown = not number and isinstance(error, Unavailable)
    words = f"statement {number} of {len(statements)}, {first_words(statements[number - 1])}" if number else "COMMIT"
    told = f"{error.message}: {reason}" if reason else error.message
    left = "whether it is applied is not known" if unknown else "nothing of it stays"
    kept = f"; the {before} applied before it stay" if before else ""
    again = "run freehold db upgrade again: it goes on with this migration"
    message = f"the migration {label} failed at {words}: {told}; {left}{kept}"
    match error:
        case Unavailable():
            return type(error)(message, hint=f"{f'{error.hint}; ' if error.hint else ''}{again}")
        case ConcurrencyConflict():
            return ConcurrencyConflict(message, hint=f"end what holds the lock, and {again}")
        case DatabaseError():
            hint = error.hint or "mend the migration, or what stands in its way"
            return type(error)(message, hint=f"{hint}; then {again}")
        case _:
            return DatabaseError(message, hint=f"{f'{error.hint}; ' if error.hint else ''}then {again}")

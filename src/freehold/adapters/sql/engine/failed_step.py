"""The error for a migration that failed: its name, the statement, the reason, what is left of it, what to do next.

Imports the foundation. A migration's text is source code and may be shown, but without the values that it writes. The
engine's message is shown only where it cannot quote values of a row.
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
    """The beginning of a statement, without values: `CREATE INDEX thing_n ON thing`, `INSERT INTO thing`."""
    text = " ".join(_COMMENTS.sub(" ", statement).split())
    begins = _VALUES_BEGIN.search(text)
    words = (text[: begins.start()] if begins else text).strip() or text.partition(" ")[0]
    return plain_text(words, _WORDS_MAX)


def failed_step(
    label: str,
    statements: Sequence[str],
    number: int,
    error: FreeholdError,
    *,
    reason: str,
    before: int,
    alone: bool = False,
) -> FreeholdError:
    """The error for a step whose statement `number` (from 1; 0 for its COMMIT) failed; `Unavailable` where `error` is.

    reason  the engine's message, where it may be shown; else empty.
    before  the number of steps that this upgrade applied before it.
    alone   whether each statement commits by itself, so that those before the failed one are kept.
    """
    unknown = not number and isinstance(error, Unavailable)
    words = f"statement {number} of {len(statements)}, {first_words(statements[number - 1])}" if number else "COMMIT"
    cause = f"{error.message}: {reason}" if reason else error.message
    left = "whether it is applied is not known" if unknown else _left(number, alone=alone)
    kept = f"; the {before} applied before it stay" if before else ""
    again = "run freehold db upgrade again: it continues with this migration"
    message = f"the migration {label} failed at {words}: {cause}; {left}{kept}"
    match error:
        case Unavailable():
            return type(error)(message, hint=f"{f'{error.hint}; ' if error.hint else ''}{again}")
        case ConcurrencyConflict():
            return ConcurrencyConflict(message, hint=f"end what holds the lock, and {again}")
        case DatabaseError():
            hint = error.hint or "correct the migration, or what makes it fail"
            return type(error)(message, hint=f"{hint}; then {again}")
        case _:
            return DatabaseError(message, hint=f"{f'{error.hint}; ' if error.hint else ''}then {again}")


def _left(number: int, *, alone: bool) -> str:
    """What is kept of a failed step. The next upgrade runs it again from its first statement."""
    return f"the {number - 1} statements before it are committed" if alone and number > 1 else "it was rolled back"

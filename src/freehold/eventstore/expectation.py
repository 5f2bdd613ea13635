"""What a writer expects of a stream, compared with what is there. Pattern: imports the foundation and its own port."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.errors import ConcurrencyConflict, DeclarationError
from freehold.eventstore.store import Append, Expectation
from freehold.messages.texts import check_name

__all__ = ["check_appends", "conflict", "is_met"]


def check_appends(appends: Sequence[Append]) -> None:
    """Raise `DeclarationError` where a stream is named twice, has no name, nothing to add, or a version below zero;
    `InvalidValue` for a name that not every engine can keep.
    """
    names = {each.stream for each in appends}
    if len(names) != len(appends):
        raise DeclarationError("a stream is named twice in one append", hint="give its events together")
    if not all(names) or not all(each.events for each in appends):
        raise DeclarationError("an append needs a stream and events", hint="leave out streams that get none")
    for each in appends:
        check_name("stream", each.stream)
    below = next((each.expected for each in appends if isinstance(each.expected, int) and each.expected < 0), None)
    if below is not None:
        raise DeclarationError(f"no stream is at version {below}", hint="0 is the version of an empty stream")


def is_met(append: Append, version: int) -> bool:
    """Whether a stream that is at this version is as the writer expects."""
    match append.expected:
        case Expectation.ANY:
            return True
        case Expectation.NO_STREAM:
            return version == 0
        case Expectation.STREAM_EXISTS:
            return version > 0
        case int() as expected:
            return version == expected


def conflict(append: Append, version: int) -> ConcurrencyConflict:
    """What is raised where a stream is at another version than expected."""
    return ConcurrencyConflict(
        f"stream '{append.stream}' is at version {version}, where {append.expected} was expected",
        hint="load it again, decide again",
    )

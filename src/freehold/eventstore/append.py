"""The pending appends of a transaction, and the check of their expected versions. Pattern: imports the foundation and
its own port.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from freehold.errors import ConcurrencyConflict, DeclarationError, InvalidValue
from freehold.eventstore.store import Append, Expectation, ExpectedVersion, NewEvent
from freehold.messages.texts import check_name

__all__ = ["PendingAppends", "check_appends", "conflict", "is_met"]

_VERSION_MAX: Final = 2**63 - 1


def check_appends(appends: Sequence[Append]) -> None:
    """Raise `DeclarationError` for a stream without a name or named twice, an append without events, or an expected
    version below 0; `InvalidValue` for a name that not every engine can store.
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
    """Whether a stream at this version meets what the writer expects."""
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
    """The error for a stream that is at another version than expected."""
    return ConcurrencyConflict(
        f"stream '{append.stream}' is at version {version}, where {append.expected} was expected",
        hint="load it again, and decide again",
    )


@dataclass(slots=True)
class _Pending:
    expected: ExpectedVersion
    events: list[NewEvent] = field(default_factory=list)


class PendingAppends:
    """Appends by stream, in the order in which streams were first named."""

    def __init__(self) -> None:
        self._streams: dict[str, _Pending] = {}

    def __bool__(self) -> bool:
        return bool(self._streams)

    def add(self, stream: str, events: Sequence[NewEvent], expected: ExpectedVersion) -> None:
        """Add events for a stream. Raises `ConcurrencyConflict` if what is expected now contradicts the events that
        were added before, `InvalidValue` for an invalid name of a stream or expected version.
        """
        check_name("stream", stream)
        if type(expected) not in {int, Expectation}:
            raise InvalidValue("expected", f"must be a version or an Expectation, and is {type(expected).__name__}")
        if isinstance(expected, int) and expected > _VERSION_MAX:
            raise InvalidValue("expected", "must be within 64 bits")
        if not events:
            return
        pending = self._streams.get(stream)
        if pending is None:
            pending = self._streams[stream] = _Pending(expected)
        else:
            _check(stream, pending, expected)
        pending.events.extend(events)

    def of(self, stream: str) -> Sequence[NewEvent]:
        """The pending events of a stream."""
        pending = self._streams.get(stream)
        return tuple(pending.events) if pending is not None else ()

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state."""
        kept = [(stream, each.expected, tuple(each.events)) for stream, each in self._streams.items()]

        def restore() -> None:
            self._streams = {stream: _Pending(expected, list(events)) for stream, expected, events in kept}

        return restore

    def take(self) -> Sequence[Append]:
        """Return all pending appends, and clear them."""
        taken = [Append(stream, tuple(each.events), each.expected) for stream, each in self._streams.items()]
        self._streams.clear()
        return taken


def _check(stream: str, pending: _Pending, expected: ExpectedVersion) -> None:
    match expected, pending.expected:
        case Expectation.NO_STREAM, _:
            found = "this transaction has appended to it before"
        case int(), int(first) if expected != first + len(pending.events):
            found = f"it will be at {first + len(pending.events)} by then"
        case int(), Expectation.NO_STREAM if expected != len(pending.events):
            found = f"it will be at {len(pending.events)} by then"
        case int(), Expectation.ANY | Expectation.STREAM_EXISTS:
            least = len(pending.events) + (pending.expected is Expectation.STREAM_EXISTS)
            if expected >= least:
                pending.expected = expected - len(pending.events)
                return
            found = f"it will be at {least} or more by then"
        case _:
            return
    raise ConcurrencyConflict(
        f"stream '{stream}' cannot be at {expected}: {found}", hint="load it again in this transaction"
    )

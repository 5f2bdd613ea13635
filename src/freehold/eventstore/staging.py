"""Events that a transaction has collected and not written yet. Pattern: imports the foundation and its own port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from freehold.errors import ConcurrencyConflict, InvalidValue
from freehold.eventstore.store import Append, Expectation, ExpectedVersion, NewEvent
from freehold.messages.texts import check_name

__all__ = ["StagedAppends"]

_VERSION_MAX: Final = 2**63 - 1


@dataclass(slots=True)
class _Staged:
    expected: ExpectedVersion
    events: list[NewEvent] = field(default_factory=list)


class StagedAppends:
    """Appends by stream, in the order in which streams were first named."""

    def __init__(self) -> None:
        self._streams: dict[str, _Staged] = {}

    def __bool__(self) -> bool:
        return bool(self._streams)

    def add(self, stream: str, events: Sequence[NewEvent], expected: ExpectedVersion) -> None:
        """Add events to what a stream is to get. Raises `ConcurrencyConflict` where the earlier ones rule out what is
        expected now, `InvalidValue` for a name of a stream, or a version, that cannot be.
        """
        check_name("stream", stream)
        if type(expected) not in {int, Expectation}:
            raise InvalidValue("expected", f"must be a version or an Expectation, and is {type(expected).__name__}")
        if isinstance(expected, int) and expected > _VERSION_MAX:
            raise InvalidValue("expected", "must be within 64 bits")
        if not events:
            return
        staged = self._streams.get(stream)
        if staged is None:
            staged = self._streams[stream] = _Staged(expected)
        else:
            _check(stream, staged, expected)
        staged.events.extend(events)

    def of(self, stream: str) -> Sequence[NewEvent]:
        """What a stream is to get so far."""
        staged = self._streams.get(stream)
        return tuple(staged.events) if staged is not None else ()

    def remember(self) -> Callable[[], None]:
        """Return what brings back the state of now."""
        kept = [(stream, each.expected, tuple(each.events)) for stream, each in self._streams.items()]

        def restore() -> None:
            self._streams = {stream: _Staged(expected, list(events)) for stream, expected, events in kept}

        return restore

    def take(self) -> Sequence[Append]:
        """Everything, to be written now."""
        taken = [Append(stream, tuple(each.events), each.expected) for stream, each in self._streams.items()]
        self._streams.clear()
        return taken


def _check(stream: str, staged: _Staged, expected: ExpectedVersion) -> None:
    match expected, staged.expected:
        case Expectation.NO_STREAM, _:
            found = "the transaction has appended to it before"
        case int(), int(first) if expected != first + len(staged.events):
            found = f"it will be at {first + len(staged.events)} by then"
        case int(), Expectation.NO_STREAM if expected != len(staged.events):
            found = f"it will be at {len(staged.events)} by then"
        case int(), Expectation.ANY | Expectation.STREAM_EXISTS:
            least = len(staged.events) + (staged.expected is Expectation.STREAM_EXISTS)
            if expected >= least:
                staged.expected = expected - len(staged.events)
                return
            found = f"it will be at {least} or more by then"
        case _:
            return
    raise ConcurrencyConflict(f"stream '{stream}' cannot be at {expected}: {found}", hint="load it again in here")

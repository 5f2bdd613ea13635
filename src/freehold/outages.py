"""What a service waits for just now, told once. Foundation: standard library, the clock and the errors.

All loops and requests of a service share one `Outages`, for they share one database and one broker. When something
goes away one line says so, with the reason and what happens next; while it lasts, one line a minute at most; when
nobody waits for it any more, one line says how long it took. Loops and requests find the service's own in a context
variable, which the tasks that they start inherit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from freehold.clock import Clock, SystemClock
from freehold.errors import FreeholdError

__all__ = ["BROKER", "DATABASE", "Outages", "Wait", "current_outages", "on_behalf_of", "reason_of"]

DATABASE: Final = "database"
BROKER: Final = "broker"
REMIND_SECONDS: Final = 60.0
"""How often at most something that lasts is told again."""
AGAIN_SECONDS: Final = 10.0
"""What goes away again so soon, for the same reason, is told only once it has lasted as long."""
_NAMED_MAX: Final = 8
_THINGS_MAX: Final = 100
_REASONS_MAX: Final = 4
"""A connection that ends tells less than why no other can be made."""
_log = logging.getLogger("freehold.outages")


def reason_of(error: BaseException) -> str:
    """Why something failed, briefly: Freehold's own text; of others the class, for their text may hold values."""
    return error.message if isinstance(error, FreeholdError) else type(error).__name__


@dataclass(slots=True)
class _Outage:
    """Something that is away: since when, why, who waits for it, and when that was told last."""

    since: float
    reason: str
    told_at: float | None = None
    waiting: dict[int, str] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    back: bool = False
    reasons: set[str] = field(default_factory=set)


class Outages:
    """What one service waits for, by what is away. Belongs to one event loop.

    `tracebacks` says whether a loop of the service that fails by a bug is told with its stack: whatever loop it is, and
    whenever it was made.
    """

    def __init__(self, service: str, clock: Clock | None = None, *, tracebacks: bool = True) -> None:
        self.service = service
        self.tracebacks = tracebacks
        self._clock = clock or SystemClock()
        self._away: dict[str, _Outage] = {}
        self._ended: dict[str, tuple[float, str]] = {}
        self._refused: dict[str, tuple[float, int]] = {}

    def wait_of(self, who: str, what: str = DATABASE) -> Wait:
        """A wait of a loop, or of requests, for something; it counts from its first failure on."""
        return Wait(self, who, what)

    def titled(self, who: str) -> str:
        """The name of a loop behind its service's."""
        return who if who == self.service else f"{self.service}: {self._short(who)}"

    def why(self, what: str) -> str:
        """Why something is away; empty where nobody waits for it."""
        outage = self._away.get(what)
        return outage.reason if outage is not None else ""

    def unanswered(self, error: FreeholdError, what: str = DATABASE) -> None:
        """Note a request that was answered with 503 because something is away: one line a minute, and none where the
        loops have told of it.
        """
        away = self._away.get(what)
        if away is None or away.told_at is None:
            self._tell_of_requests(what, error, "requests are answered with 503 and Retry-After")

    def cut_off(self, error: FreeholdError, what: str = DATABASE, *, whole: bool) -> None:
        """Note an answer that had begun, and cannot be ended because something is away: one line a minute. `whole`:
        the answer had been sent, and what goes on behind it failed.
        """
        words = "what goes on behind answers fails" if whole else "answers that had begun are cut off"
        self._tell_of_requests(f"{what}: {words}", error, words)

    def left_out(self, error: FreeholdError, what: str) -> None:
        """Note an answer that was given without what could not be had: one line a minute."""
        self._tell_of_requests(f"{what}: left out", error, "answers are composed without it")

    def _tell_of_requests(self, which: str, error: FreeholdError, words: str) -> None:
        now = self._clock.monotonic()
        told_at, count = self._refused.get(which, (now - REMIND_SECONDS, 0))
        if now - told_at < REMIND_SECONDS:
            self._refused[which] = told_at, count + 1
            return
        while len(self._refused) >= _THINGS_MAX:
            del self._refused[next(iter(self._refused))]
        self._refused[which] = now, 0
        more = f"; {count} more in the last {now - told_at:.0f} s" if count else ""
        _log.warning("%s: %s; %s%s", self.service, error.message, words, more)

    def lasting(self, what: str, seconds: float) -> str:
        """Who waits for something, for how long, and why; empty where it has not lasted for so many seconds."""
        outage = self._away.get(what)
        if outage is None or (since := self._clock.monotonic() - outage.since) < seconds:
            return ""
        names = _listed(dict.fromkeys(outage.waiting.values()))
        return f"{outage.reason}; {names} waited for {since:.0f} s"

    def failed(self, wait: Wait, error: BaseException, again_seconds: float) -> None:
        """Note that something could not be reached; see `Wait.failed`."""
        now = self._clock.monotonic()
        outage = self._away.setdefault(wait.what, _Outage(since=now, reason=reason_of(error)))
        who = self._short(wait.who)
        outage.waiting[id(wait)] = who
        outage.names[who] = None
        outage.reason = reason_of(error)
        if outage.told_at is None:
            if now - outage.since < AGAIN_SECONDS and self._was_told(wait.what, outage, now):
                return
            outage.told_at = now
            outage.reasons.add(outage.reason)
            _log.warning(
                "%s: %s; %s waits for the %s and tries again every %g s",
                self.service,
                outage.reason,
                who,
                wait.what,
                again_seconds,
            )
        elif outage.reason not in outage.reasons and len(outage.reasons) < _REASONS_MAX:
            outage.reasons.add(outage.reason)
            _log.warning("%s: %s; still waiting for the %s", self.service, outage.reason, wait.what)
        elif now - outage.told_at >= REMIND_SECONDS:
            outage.told_at = now
            _log.warning(
                "%s: %s, for %.0f s now; waiting for the %s: %s",
                self.service,
                outage.reason,
                now - outage.since,
                wait.what,
                _listed(outage.names),
            )

    def over(self, wait: Wait, *, back: bool) -> None:
        """Note that a wait is over; see `Wait.over` and `Wait.given_up`."""
        outage = self._away.get(wait.what)
        if outage is None or outage.waiting.pop(id(wait), None) is None:
            return
        outage.back = outage.back or back
        if outage.waiting:
            return
        del self._away[wait.what]
        now = self._clock.monotonic()
        self._ended[wait.what] = now, outage.reason
        if outage.told_at is None:
            return
        seconds, names = now - outage.since, _listed(outage.names)
        lasted = f"{seconds:.{1 if seconds < REMIND_SECONDS else 0}f} s"
        if outage.back:
            _log.warning("%s: the %s is back after %s; %s waited", self.service, wait.what, lasted, names)
            return
        _log.warning(
            "%s: %s, for %s now; stopped while waiting for the %s: %s; the next start goes on",
            self.service,
            outage.reason,
            lasted,
            wait.what,
            names,
        )

    def _was_told(self, what: str, outage: _Outage, now: float) -> bool:
        ended_at, reason = self._ended.get(what, (now - AGAIN_SECONDS, ""))
        return outage.since - ended_at < AGAIN_SECONDS and reason == outage.reason

    def _short(self, who: str) -> str:
        """A loop's name without the service's, which stands before it anyhow."""
        return who.removesuffix(f" {self.service}").removeprefix(f"{self.service}.") if who != self.service else "it"


class Wait:
    """Somebody's wait for something that is away; `over` and `given_up` may be called any time, also where nothing
    failed.
    """

    __slots__ = ("_outages", "_waits", "what", "who")

    def __init__(self, outages: Outages, who: str, what: str) -> None:
        self.who = who
        self.what = what
        self._outages = outages
        self._waits = False

    def failed(self, error: BaseException, *, again_seconds: float) -> None:
        """Note a failure; the first of an outage is logged. `again_seconds` is the longest pause before another try."""
        self._waits = True
        self._outages.failed(self, error, again_seconds)

    def over(self) -> None:
        """Note that it works again."""
        self._end(back=True)

    def given_up(self) -> None:
        """Note that it is not tried any more: whoever waited was stopped."""
        self._end(back=False)

    def _end(self, *, back: bool) -> None:
        if self._waits:
            self._waits = False
            self._outages.over(self, back=back)


_current: ContextVar[Outages | None] = ContextVar("freehold_outages", default=None)


def current_outages() -> Outages | None:
    """Those of the service on whose behalf this task works; None where it is nobody's."""
    return _current.get()


@contextmanager
def on_behalf_of(outages: Outages) -> Iterator[Outages]:
    """What is done here, and the tasks that it starts, wait on behalf of this service."""
    token = _current.set(outages)
    try:
        yield outages
    finally:
        _current.reset(token)


def _listed(names: dict[str, None]) -> str:
    shown = list(names)[:_NAMED_MAX]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")

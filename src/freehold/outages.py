"""The outages that a service waits for, logged once for all its loops. Foundation: standard library, the clock and the
errors.

All loops and requests of a service share one `Outages`, because they share one database and one broker. One log line
reports the begin of an outage, with the reason and what happens next; one line a minute at most reports that it lasts;
and one line its length, once nothing waits for it any more. Loops and requests find the `Outages` of their service in a
context variable, which the tasks that they start inherit.
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
"""How often at most an outage that lasts is logged again."""
AGAIN_SECONDS: Final = 10.0
"""An outage that begins so soon after the last one, for the same reason, is logged only once it has lasted as long."""
_NAMED_MAX: Final = 8
_THINGS_MAX: Final = 100
_REASONS_MAX: Final = 4
"""How many different reasons of one outage are logged. The first, that a connection ended, often explains least."""
_log = logging.getLogger("freehold.outages")


def reason_of(error: BaseException) -> str:
    """Why something failed, briefly: the text of Freehold's own errors, the class of others: their text may contain
    values.
    """
    return error.message if isinstance(error, FreeholdError) else type(error).__name__


@dataclass(slots=True)
class _Outage:
    """An outage: since when, why, which loops wait (by id of the wait) or have waited, and when it was logged last."""

    since: float
    reason: str
    logged_at: float | None = None
    waiting: dict[int, str] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    back: bool = False
    reasons: set[str] = field(default_factory=set)


class Outages:
    """The outages that one service waits for, by what is unavailable. Belongs to one event loop.

    `tracebacks` says whether the runners of the service log the stack of a bug.
    """

    def __init__(self, service: str, clock: Clock | None = None, *, tracebacks: bool = True) -> None:
        self.service = service
        self.tracebacks = tracebacks
        self._clock = clock or SystemClock()
        self._away: dict[str, _Outage] = {}
        self._ended: dict[str, tuple[float, str]] = {}
        self._refused: dict[str, tuple[float, int]] = {}

    def wait_of(self, who: str, what: str = DATABASE) -> Wait:
        """A wait of a loop, or of requests, for something; it begins with its first failure."""
        return Wait(self, who, what)

    def titled(self, who: str) -> str:
        """The name of a loop with that of its service before it."""
        return who if who == self.service else f"{self.service}: {self._short(who)}"

    def why(self, what: str) -> str:
        """Why something is unavailable; empty where nothing waits for it."""
        outage = self._away.get(what)
        return outage.reason if outage is not None else ""

    def unanswered(self, error: FreeholdError, what: str = DATABASE) -> None:
        """Note a request that was answered with 503 because of an outage: logged once a minute, and not where the loops
        have logged the outage.
        """
        away = self._away.get(what)
        if away is None or away.logged_at is None:
            self._log_requests(what, error, "requests are answered with 503 and Retry-After")

    def cut_off(self, error: FreeholdError, what: str = DATABASE, *, whole: bool) -> None:
        """Note a response that had begun and cannot be completed because of an outage: logged once a minute. `whole`:
        the response was complete, and the background work after it failed.
        """
        effect = "background work after responses fails" if whole else "responses that had begun are cut off"
        self._log_requests(f"{what}: {effect}", error, effect)

    def left_out(self, error: FreeholdError, what: str) -> None:
        """Note a response that lacks a part because of an outage: logged once a minute."""
        self._log_requests(f"{what}: left out", error, "responses are composed without it")

    def _log_requests(self, which: str, error: FreeholdError, effect: str) -> None:
        now = self._clock.monotonic()
        logged_at, count = self._refused.get(which, (now - REMIND_SECONDS, 0))
        if now - logged_at < REMIND_SECONDS:
            self._refused[which] = logged_at, count + 1
            return
        while len(self._refused) >= _THINGS_MAX:
            del self._refused[next(iter(self._refused))]
        self._refused[which] = now, 0
        more = f"; {count} more in the last {now - logged_at:.0f} s" if count else ""
        _log.warning("%s: %s; %s%s", self.service, error.message, effect, more)

    def lasting(self, what: str, seconds: float) -> str:
        """The reason of an outage, what waits and for how long; empty where it has lasted for less than `seconds`."""
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
        if outage.logged_at is None:
            if now - outage.since < AGAIN_SECONDS and self._was_logged(wait.what, outage, now):
                return
            outage.logged_at = now
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
        elif now - outage.logged_at >= REMIND_SECONDS:
            outage.logged_at = now
            _log.warning(
                "%s: %s, for %.0f s now; waiting for the %s: %s",
                self.service,
                outage.reason,
                now - outage.since,
                wait.what,
                _listed(outage.names),
            )

    def over(self, wait: Wait, *, back: bool) -> None:
        """Note the end of a wait; see `Wait.over` and `Wait.given_up`."""
        outage = self._away.get(wait.what)
        if outage is None or outage.waiting.pop(id(wait), None) is None:
            return
        outage.back = outage.back or back
        if outage.waiting:
            return
        del self._away[wait.what]
        now = self._clock.monotonic()
        self._ended[wait.what] = now, outage.reason
        if outage.logged_at is None:
            return
        seconds, names = now - outage.since, _listed(outage.names)
        lasted = f"{seconds:.{1 if seconds < REMIND_SECONDS else 0}f} s"
        if outage.back:
            _log.warning("%s: the %s is back after %s; %s waited", self.service, wait.what, lasted, names)
            return
        _log.warning(
            "%s: %s, for %s now; stopped while waiting for the %s: %s; the next start continues",
            self.service,
            outage.reason,
            lasted,
            wait.what,
            names,
        )

    def _was_logged(self, what: str, outage: _Outage, now: float) -> bool:
        ended_at, reason = self._ended.get(what, (now - AGAIN_SECONDS, ""))
        return outage.since - ended_at < AGAIN_SECONDS and reason == outage.reason

    def _short(self, who: str) -> str:
        """A loop's name without that of its service, which the log line begins with."""
        return who.removesuffix(f" {self.service}").removeprefix(f"{self.service}.") if who != self.service else "it"


class Wait:
    """The wait of one loop, or of requests, during an outage. `over` and `given_up` may be called at any time, also if
    nothing failed.
    """

    __slots__ = ("_outages", "_waits", "what", "who")

    def __init__(self, outages: Outages, who: str, what: str) -> None:
        self.who = who
        self.what = what
        self._outages = outages
        self._waits = False

    def failed(self, error: BaseException, *, again_seconds: float) -> None:
        """Note a failure; the first of an outage is logged. `again_seconds` is the longest pause before a retry."""
        self._waits = True
        self._outages.failed(self, error, again_seconds)

    def over(self) -> None:
        """Note that the outage is over."""
        self._end(back=True)

    def given_up(self) -> None:
        """Note that nothing waits any more: the loop was stopped."""
        self._end(back=False)

    def _end(self, *, back: bool) -> None:
        if self._waits:
            self._waits = False
            self._outages.over(self, back=back)


_current: ContextVar[Outages | None] = ContextVar("freehold_outages", default=None)


def current_outages() -> Outages | None:
    """The outages of the service that this task works for; None outside of a service."""
    return _current.get()


@contextmanager
def on_behalf_of(outages: Outages) -> Iterator[Outages]:
    """Make these the current outages in the block, and in the tasks that are started in it."""
    token = _current.set(outages)
    try:
        yield outages
    finally:
        _current.reset(token)


def _listed(names: dict[str, None]) -> str:
    shown = list(names)[:_NAMED_MAX]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")

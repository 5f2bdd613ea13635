"""Points at which a process may be killed in tests of crashes: before and after each commit, publish, acknowledge, and
call to the outside. Foundation: imports the standard library.

`crash_point` does nothing, at the cost of one call, unless the process was started with one of these variables:

FREEHOLD_TEST_CRASH_AT      `outbox.published#3`: the third time that the process passes this point it kills itself, by
                            SIGKILL. `*#57`: at the 57th passage of any point.
FREEHOLD_TEST_CRASH_RECORD  a file to which each passage is appended, a line each, the deadly one included.

`freehold.testing.crashes` sets them, restarts what was killed, and checks what holds then.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

__all__ = ["ANY", "CRASH_AT", "CRASH_POINTS", "CRASH_RECORD", "arm", "crash_point"]

CRASH_AT: Final = "FREEHOLD_TEST_CRASH_AT"
CRASH_RECORD: Final = "FREEHOLD_TEST_CRASH_RECORD"
ANY: Final = "*"
"""In place of a point's name: any point."""

_AREAS: Final[Mapping[str, str]] = {
    "database": """
        before-commit before-rollback begun committed
    """,
    "deadletters": """
        before-discard-commit before-edit-commit before-replay-commit replayed
    """,
    "embedded": """
        before-commit before-prune-commit before-wake committed
    """,
    "groups": """
        acknowledged before-acknowledge before-delivery before-heartbeat before-leave before-release before-save
        before-take heartbeat-sent joined left released saved taken
    """,
    "http": """
        before-commit before-response before-response-saved key-claimed response-committed response-saved
    """,
    "inbox": """
        before-claim before-claim-release before-commit before-dead-letter before-defer before-drop-commit
        before-handler before-progress-commit before-reschedule before-write claim-released claimed committed
        dead-letter-added dead-lettered deferred fetched handler-ended progress-committed received rescheduled
    """,
    "leases": """
        acquired before-acquire before-delete-of-dead before-ensure before-join before-release before-renew
        dead-deleted joined released renewed
    """,
    "migration": """
        applied before-commit before-note before-preparation before-record-commit before-statement prepared
        record-made
    """,
    "nats": """
        answered before-send sent
    """,
    "outbox": """
        advanced before-advance before-dead-letter-commit before-end-of-loss before-log-mark before-publish
        before-recall before-remove before-reschedule before-resend-commit dead-lettered fetched log-marked
        loss-ended published recalled removed rescheduled resent
    """,
    "projection": """
        advanced applied before-drop-commit before-first-commit before-isolation-commit before-park-again-commit
        before-park-commit before-pause-commit before-rebuild-commit before-refresh before-replay-commit
        before-replay-end-commit before-retry-note-commit before-sink before-start-commit before-switch-commit
        before-unpark-commit before-views-replaced committed first-made isolated key-deleted key-rebuilt
        last-advanced parked rebuild-begun refreshed replay-moved retry-noted sink-written started switch-shown
        switched unpark-step-committed unparked
    """,
    "prune": """
        before pruned
    """,
    "reconcile": """
        barrier-published barrier-reached before-barrier before-record before-repair-commit recorded repaired
        rows-repaired
    """,
    "saga": """
        before-call before-command before-continue-commit before-due-commit before-failure-commit before-hook
        before-isolation-commit before-local-step before-lone-outcome-commit before-outcome-commit before-save
        called command-staged created due-claimed due-committed hook-ended isolated local-step-ended
        outcome-recorded saved
    """,
    "schedule": """
        before-commit committed taken
    """,
    "transaction": """
        before-events before-messages before-scheduled before-write begun committed events-written inline-projected
        messages-written scheduled-written
    """,
}
"""What each area passes. A test compares this with the calls of `crash_point`; each name is used at one place."""
CRASH_POINTS: Final = frozenset(f"{area}.{name}" for area, names in _AREAS.items() for name in names.split())
"""The names of all points."""

_passed: Callable[[str], None] | None = None


def crash_point(name: str) -> None:
    """Pass a point, one of `CRASH_POINTS`."""
    if _passed is not None:
        _passed(name)


class _Armed:
    """What is done at each passage in a process under test. Threads may pass points at the same time."""

    def __init__(self, deadly: str, occurrence: int, record: str) -> None:
        self._deadly = deadly
        self._occurrence = occurrence
        self._file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if record else None
        self._passages: Counter[str] = Counter()
        self._lock = threading.Lock()

    def passed(self, name: str) -> None:
        with self._lock:
            self._passages[name] += 1
            self._passages[ANY] += 1
            if self._file is not None:
                os.write(self._file, f"{name}\n".encode())
            if self._deadly in {name, ANY} and self._passages[self._deadly] == self._occurrence:
                _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL does not return")


def arm(environ: Mapping[str, str]) -> None:
    """Do what the variables of these name; without them, nothing at any point. Called with those of the process when it
    imports this, and by processes that were forked after that. Raises `ValueError` for a point that does not exist.
    """
    global _passed  # noqa: PLW0603 - a point must not cost more than this look
    at, record = environ.get(CRASH_AT, ""), environ.get(CRASH_RECORD, "")
    name, _, occurrence = at.partition("#")
    if at and name != ANY and name not in CRASH_POINTS:
        raise ValueError(f"there is no crash point {name!r}")
    _passed = _Armed(name, int(occurrence or 1), record).passed if at or record else None


arm(os.environ)

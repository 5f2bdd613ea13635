"""What may happen to a step of a saga, and the rules that hold nevertheless. Testing: the standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

__all__ = [
    "CALL_FAULTS",
    "COMMAND_FAULTS",
    "HELD",
    "HOOK_FAULTS",
    "LOCAL_FAULTS",
    "Fault",
    "Rule",
    "failing_attempts",
    "failing_options",
]


class Fault(StrEnum):
    """What happens to an attempt."""

    OK = "ok"
    REJECTED = "rejected"
    """A business refusal; this key stays rejected."""
    TIMED_OUT = "timed-out"
    """No attempt of this action or compensation arrives before the instance has ended."""
    TIMED_OUT_BUT_DONE = "timed-out-but-done"
    """It takes effect, and no reply to this action or compensation arrives before the instance has ended."""
    REQUEST_LATE = "request-late"
    """The request arrives after the next timer."""
    REPLY_LATE = "reply-late"
    """It takes effect, and the reply arrives after the next timer."""
    REPLY_TWICE = "reply-twice"
    """The reply arrives twice at once, and a third time after the end."""
    CRASH_BEFORE = "crash-before"
    """The process that does it crashes before it takes effect. A command is delivered again. Of a call nobody knows
    anything until its time limit. A local function runs again."""
    CRASH_AFTER = "crash-after"
    """The process that does it crashes after it took effect. A command is delivered again. The outcome of a call is
    lost. A local function and what it wrote are rolled back, and it runs again."""
    RAISED = "raised"
    """A call raises before its effect."""
    RAISED_BUT_DONE = "raised-but-done"
    """A call raises after its effect."""
    BUG = "bug"
    """Code of the definition (a local function, `make`, `merge`, `on_completed`, …) raises once."""
    BUG_UNTIL_FIXED = "bug-until-fixed"
    """The code raises until it is fixed, which happens when the instance needs attention."""


COMMAND_FAULTS: Final = (
    Fault.OK,
    Fault.REJECTED,
    Fault.TIMED_OUT,
    Fault.TIMED_OUT_BUT_DONE,
    Fault.REQUEST_LATE,
    Fault.REPLY_LATE,
    Fault.REPLY_TWICE,
    Fault.CRASH_BEFORE,
    Fault.CRASH_AFTER,
)
CALL_FAULTS: Final = (*COMMAND_FAULTS, Fault.RAISED, Fault.RAISED_BUT_DONE)
HOOK_FAULTS: Final = (Fault.OK, Fault.BUG, Fault.BUG_UNTIL_FIXED)
LOCAL_FAULTS: Final = (*HOOK_FAULTS, Fault.REJECTED, Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
HELD: Final = frozenset({Fault.TIMED_OUT, Fault.TIMED_OUT_BUT_DONE})
"""These apply to all later attempts of the same action or compensation, too."""
_FAILS: Final = "fails-"


def failing_options(failures_max: int) -> Sequence[str]:
    """The further options of a compensation: its first 1, 2, … attempts fail, and the next one succeeds."""
    return [f"{_FAILS}{number}" for number in range(1, failures_max + 1)]


def failing_attempts(fault: str) -> int:
    """How many attempts fail by such an option; 0 for another fault."""
    return int(fault.removeprefix(_FAILS)) if fault.startswith(_FAILS) else 0


class Rule(StrEnum):
    """What holds in every run."""

    ONE_END = "an instance ends, once, in one terminal status"
    EFFECTS = "in the end every effect is kept if the saga completed; else it is compensated, or was never done"
    ONCE = "an action takes effect at most once, and is compensated at most once"
    ACTION_FIRST = "nothing is compensated that was not requested before"
    ORDER = "a step is compensated after all steps that come after it"
    NEEDLESS = "nothing is compensated unless the process failed"
    PIVOT = "nothing is compensated once the pivot took effect"
    CODE = "code of the saga works in every run"
    CHECK = "the check of the test holds"

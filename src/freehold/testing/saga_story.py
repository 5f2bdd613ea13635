"""The story of one run of a saga, for the text of a failure. Testing: imports the saga pattern.

Times are left out: backoffs are drawn, and a story must be the same each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from freehold.saga.instance import Instance
from freehold.saga.store import JournalEntry

__all__ = ["SagaStory", "call_text"]

_LINES_MAX: Final = 60
_SAGA: Final = "saga"


class SagaStory:
    """What happened, a line for each event, and who did it: the saga, a step's participant, a timer, an operator."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def tell(self, who: str, what: str) -> None:
        """Add a line."""
        self.lines.append((who, what))

    def journal(self, entries: Sequence[JournalEntry]) -> None:
        """Add what the saga wrote into its journal."""
        for entry in entries:
            attempt = f", attempt {entry.attempt}" if entry.what.endswith("requested") and entry.attempt > 1 else ""
            about = f"{entry.step}: {entry.what}" if entry.step else entry.what
            self.tell(_SAGA, f"{about}{attempt}" + (f" ({entry.detail})" if entry.detail else ""))

    def render(self, instance: Instance, effects: Mapping[str, int]) -> Sequence[str]:
        """The lines, and how it stands after the last one."""
        width = max((len(who) for who, _ in self.lines), default=0)
        lines = [f"  {who:<{width}}  {what}" for who, what in self.lines]
        if len(lines) > _LINES_MAX:
            half = _LINES_MAX // 2
            lines = [*lines[:half], f"  … {len(lines) - 2 * half} more events …", *lines[-half:]]
        steps = ", ".join(f"{name} {progress.phase.value}" for name, progress in instance.steps.items())
        in_effect = ", ".join(name for name, number in effects.items() if number) or "nothing"
        return [
            "what happened:",
            *lines,
            f"the saga is {instance.status.value}; steps: {steps}",
            f"in effect: {in_effect}",
            f"state: {instance.state!r}",
        ]


def call_text(saga: str, state: Any, options: Mapping[str, Any], only: Mapping[str, str]) -> str:
    """The call of `explore` that repeats one combination."""
    given = "".join(f", {name}={_named(value)}" for name, value in options.items())
    return f"explore({saga}, {state!r}{given}, only={dict(only)!r})"


def _named(value: Any) -> str:
    return str(getattr(value, "__name__", None) or getattr(value, "name", None) or repr(value))

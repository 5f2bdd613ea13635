"""What a running service tells about itself. Runtime: imports the foundation and the ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from freehold.broker import TopicLag
from freehold.inbox.store import DeferredStats
from freehold.lifecycle import RunnerState
from freehold.outbox.store import OutboxStats

__all__ = ["Health", "Readiness", "RunnerHealth"]


@dataclass(frozen=True, slots=True)
class RunnerHealth:
    """A loop's state; `last_error` is the name of an error's class, empty where none happened."""

    state: RunnerState
    last_error: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests may come. `problems` say what is missing, by name, and why: `database`, `broker`, `draining`,
    and each loop that has ended or does not get on. `notices` take readiness from nobody: what passes by itself,
    `deferred` messages that are older than they should be, and what is `overdue`.
    """

    ready: bool
    problems: Mapping[str, str]
    notices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """How a service is: its loops by name, and what waits in its tables and before its group. `broker` says what keeps
    this process from the broker, and is empty where nothing does; nothing is known of `lag` then.
    """

    service: str
    runners: Mapping[str, RunnerHealth]
    outbox: OutboxStats
    deferred: DeferredStats
    dead_letters: Mapping[str, int]
    lag: Sequence[TopicLag]
    broker: str = ""

    @property
    def ok(self) -> bool:
        """True where every loop runs."""
        return all(each.state is RunnerState.RUNNING for each in self.runners.values())

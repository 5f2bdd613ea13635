"""The results of the trials, as lines of text and as docs/reference/faults.md. Imports the trial."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.heal.trial import Trial

__all__ = ["PAGE", "line", "page"]

PAGE = Path(__file__).parents[2] / "docs/reference/faults.md"
_HEAD = """\
# Faults and how the shop heals

This page shows for each fault of `shop faults` what readiness reports, and how long the shop needs to recover. It is
written by `{command}`, not by hand.

Each fault begins in a shop under load, with orders of both checkouts, lasts until readiness has reported it, and ends.
Then every service must become ready, an order of each checkout must be confirmed, nothing may wait any more, and
`shop verify` must hold. No process may have ended except those that the fault kills, and there may be no dead letters
except those that [the fault's description](../shop.md) names.
One shop for each profile, all at the same time, goes through the faults one after the other, and then through these:

- `two-at-once`: pairs of faults of one database or of the broker, ended in either order.
- `broker-emptied-three-times`: NATS is killed and started with an empty store, or the embedded broker's file is
  deleted, three times in a row. Each time all consumers must continue within ten seconds, and every service that lost
  messages must report the loss in readiness, as must `freehold doctor`; then `freehold outbox resend` restores what was
  lost.
- `supervisor-killed`: the supervisor is killed under five faults, and the next one is stopped under four; each time the
  next supervisor starts without faults.

The third shop has the database of every service on MariaDB (`shop run --profile servers --engine all=mariadb`). It goes
through what concerns databases, and the loss of the broker's log; `orders-database-crash`, `-frozen` and `-read-only`
happen to its whole server there.

"""
_COLUMNS = (
    "| fault | orders placed, unanswered | ends after | ready after | quiet and verified after | "
    "readiness meanwhile | result |\n| --- | --- | --- | --- | --- | --- | --- |\n"
)
_TITLES = {"embedded": "Profile embedded", "servers": "Profile servers", "mariadb": "Every database on MariaDB"}
_SHOWN_CHARACTERS = 160


def line(trial: Trial) -> str:
    """A trial in one line of text."""
    result = "healed" if trial.healed else "NOT HEALED: " + "; ".join(trial.problems)
    result += f": {trial.note}" if trial.healed and trial.note else ""
    times = f"{trial.healing_seconds:.1f} + {trial.ready_seconds:.1f} + {trial.quiet_seconds:.1f} s"
    return f"{trial.name}: {result} ({times}; {trial.placed} placed, {trial.unanswered} unanswered)"


def page(command: str, results: Mapping[str, Sequence[Trial]]) -> str:
    """The page of the docs."""
    conditions = f"Python {platform.python_version()}, {os.cpu_count()} cores; the times are those of one run."
    text = _HEAD.format(command=command) + conditions + "\n"
    for profile, trials in results.items():
        healed = sum(trial.healed for trial in trials)
        text += f"\n## {_TITLES[profile]}: {healed} of {len(trials)} healed\n\n{_COLUMNS}"
        text += "".join(_row(trial) for trial in trials)
    return text


def _row(trial: Trial) -> str:
    result = "healed" if trial.healed else f"**not healed**: {_cell('; '.join(trial.problems))}"
    result += f": {trial.note}" if trial.healed and trial.note else ""
    seconds = (trial.healing_seconds, trial.ready_seconds, trial.quiet_seconds)
    times = " | ".join(f"{each:.1f} s" for each in seconds)
    return f"| `{trial.name}` | {trial.placed}, {trial.unanswered} | {times} | {_seen(trial)} | {result} |\n"


def _seen(trial: Trial) -> str:
    """What readiness reported, each text once with the services that reported it."""
    services_by_text: dict[str, list[str]] = {}
    for service, text in trial.seen.items():
        services_by_text.setdefault(text, []).append(service)
    return "<br>".join(f"{', '.join(services)}: {_cell(text)}" for text, services in services_by_text.items())


def _cell(text: str) -> str:
    """The text in one line, without parts that differ from run to run, and escaped for a table's cell."""
    one = re.sub(r"\s+", " ", re.sub(r"(/[\w.-]+){2,}", "…", text)).replace("|", "\\|")
    one = re.sub(r"\bprocess \d+|\b[\w.-]+-\d+-[0-9a-f]{8}\b", "…", one)
    return one if len(one) <= _SHOWN_CHARACTERS else one[: _SHOWN_CHARACTERS - 1] + "…"

"""The view of an instance for operators: its problem, and its journal as text lines or as a Mermaid sequence diagram.

Pattern: plain data. It needs no definition, so that any process with the database can show it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from freehold.errors import CodecError
from freehold.saga.document import read_hook_failure, read_progress
from freehold.saga.instance import WaitReason
from freehold.saga.store import TERMINAL_STATUSES, JournalEntry, SagaRecord, SagaStatus

__all__ = ["problem", "sequence", "timeline"]

_REQUESTS: Final = frozenset({"requested", "compensation-requested"})
_UNSAFE: Final = re.compile(r"[^\w .,:'/-]")


def problem(record: SagaRecord) -> str:
    """Return in one line what blocks an instance; empty where nothing does.

    For a failing hook: step, hook, class of the error, file and line, number of failures, and the time until its retry.
    """
    if record.status in TERMINAL_STATUSES:
        return ""
    try:
        failing, steps = read_hook_failure(record), read_progress(record)
    except CodecError as error:
        return error.message
    if failing is not None:
        failed = f"failed {failing.failures} times" if failing.failures else "blocked by an outage"
        again = f", retry in {record.due_seconds:.0f} s" if record.due_seconds is not None else ""
        return f"{failing} ({failed}{again})"
    waiting = [name for name, progress in steps.items() if progress.wait_reason is WaitReason.OPERATOR]
    if waiting:
        return f"an operator must decide about {', '.join(waiting)}"
    return "see the last journal entry" if record.status is SagaStatus.NEEDS_ATTENTION else ""


def timeline(record: SagaRecord, entries: Sequence[JournalEntry]) -> str:
    """Return a heading and one line for each entry, with the seconds since the first entry."""
    failure = f" because of '{record.failure}'" if record.failure else ""
    lines = [
        f"{record.definition} version {record.definition_version}, {record.key}: {record.status.value}{failure}",
        f"saga {record.id}, correlation {record.correlation_id}",
    ]
    wrong = problem(record)
    if wrong:
        lines.append(f"problem: {wrong}")
    width = max((len(entry.step) for entry in entries), default=0)
    for entry in entries:
        seconds = (entry.at - entries[0].at).total_seconds()
        attempt = f" #{entry.attempt}" if entry.attempt else ""
        detail = f"  {entry.detail}" if entry.detail else ""
        lines.append(f"{seconds:+10.3f} s  {entry.step:<{width}}  {entry.what}{attempt}{detail}")
    return "\n".join(lines) + "\n"


def sequence(record: SagaRecord, entries: Sequence[JournalEntry]) -> str:
    """Return a Mermaid sequence diagram of the requests to each step and of their outcomes."""
    lines = ["sequenceDiagram", f"    participant saga as {_safe(record.definition)} {_safe(record.key)}"]
    for entry in entries:
        attempt = f", attempt {entry.attempt}" if entry.attempt else ""
        text = _safe(f"{entry.what}{attempt}, {entry.detail}".removesuffix(", "))
        if not entry.step:
            lines.append(f"    Note over saga: {text}")
        elif entry.what in _REQUESTS:
            lines.append(f"    saga->>{_safe(entry.step)}: {text}")
        else:
            lines.append(f"    {_safe(entry.step)}-->>saga: {text}")
    return "\n".join(lines) + "\n"


def _safe(text: str) -> str:
    """Remove every character that Mermaid could interpret: details are free text."""
    return _UNSAFE.sub(" ", text).replace("\n", " ")

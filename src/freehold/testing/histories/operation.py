"""The operations of clients, as a history file has them. Testing: imports the standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["Operation", "OperationOutcome", "read_history"]


class OperationOutcome(StrEnum):
    """What the client knows of an operation."""

    OK = "ok"
    FAIL = "fail"
    """It did not take effect, and never will."""
    UNKNOWN = "unknown"
    """It may take effect at any time after its invocation, or never. So does one whose client was killed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a client.

    value     what it was invoked with.
    result    what it returned; None unless it is `OK`.
    invoked   its place in the history, and `returned` that of its end; None where that is unknown. If one operation
              returned before another was invoked, it did so in real time.
    """

    client: str
    name: str
    key: str
    value: Any
    invoked: int
    returned: int | None = None
    outcome: OperationOutcome = OperationOutcome.UNKNOWN
    result: Any = None

    @property
    def ok(self) -> bool:
        """Whether it took effect, and its client knows that."""
        return self.outcome is OperationOutcome.OK

    def before(self, other: Operation) -> bool:
        """Whether it had returned when the other one was invoked."""
        return self.ok and self.returned is not None and self.returned < other.invoked

    def __str__(self) -> str:
        """A short text: `c1: read x → 3`."""
        key = f" {self.key}" if self.key else ""
        value = "" if self.value is None else f" {self.value}"
        return f"{self.client}: {self.name}{key}{value}" + (
            f" → {self.result}" if self.ok else f" ({self.outcome.value})"
        )


def read_history(path: Path) -> Sequence[Operation]:
    """The operations of a file, in the order of their invocation. A last line that a killed process has not finished is
    left out, and so is nothing else. Raises `OSError`, `ValueError` for another line that cannot be read.
    """
    found: dict[str, Operation] = {}
    for place, line in enumerate(_lines(path)):
        match line["kind"]:
            case "invoke":
                found[line["id"]] = Operation(line["client"], line["name"], line["key"], line["value"], place)
            case kind:
                outcome = OperationOutcome(kind)
                known = outcome is not OperationOutcome.UNKNOWN
                found[line["id"]] = replace(
                    found[line["id"]], returned=place if known else None, outcome=outcome, result=line["result"]
                )
    return list(found.values())


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    text = path.read_bytes()
    whole, _, _torn = text.rpartition(b"\n")
    for line in whole.splitlines():
        yield json.loads(line)

"""The recorder of histories: a file of JSON lines that threads and processes write together. Testing: imports the
standard library only.

A line is one write at the end of the file, so lines of several processes do not mix, and a killed process leaves whole
lines (at most its last one is torn). The line of an invocation is written before the operation begins, and that of its
end after it has returned: so their order is an order in real time, and no clock is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from freehold.testing.histories.operation import OperationOutcome

__all__ = ["HistoryRecorder", "Invocation"]


class Invocation:
    """An operation in progress. What was said last counts; without a word, its end is `ok` without a result."""

    def __init__(self) -> None:
        self.outcome = OperationOutcome.OK
        self.result: Any = None

    def ok(self, result: Any = None) -> None:
        """It took effect, and returned this: JSON."""
        self.outcome, self.result = OperationOutcome.OK, result

    def fail(self) -> None:
        """It did not take effect, and never will."""
        self.outcome, self.result = OperationOutcome.FAIL, None

    def unknown(self) -> None:
        """It may take effect at any time, or never."""
        self.outcome, self.result = OperationOutcome.UNKNOWN, None


class HistoryRecorder:
    """Records the operations of one client. Any number of recorders, in any processes, may share a file."""

    def __init__(self, path: Path, client: str) -> None:
        self._path = path
        self._client = client

    @contextmanager
    def invoke(self, name: str, *, key: str = "", value: Any = None) -> Iterator[Invocation]:
        """An operation, from its invocation to the end of the block; for sync and async code. `value` is JSON.

        An exception that leaves the block ends it as `unknown`, unless the block has said `fail`.
        """
        id_ = uuid4().hex
        self._write({"kind": "invoke", "id": id_, "client": self._client, "name": name, "key": key, "value": value})
        invocation = Invocation()
        try:
            yield invocation
        except BaseException:
            if invocation.outcome is OperationOutcome.OK:
                invocation.unknown()
            raise
        finally:
            self._write({"kind": invocation.outcome.value, "id": id_, "result": invocation.result})

    def _write(self, line: dict[str, Any]) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        finally:
            os.close(file)

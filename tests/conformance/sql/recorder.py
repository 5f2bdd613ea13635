"""Records what a database had to do for each statement, below every layer: where its time goes, what rows it looked at.

SQLite counts the steps of its machine (the progress handler), which is the same on every machine; PostgreSQL tells the
plan of every statement, also of those inside functions, with the rows that each node read (`auto_explain`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import pytest
from tests.conformance.sql.seeding import GROWING

from freehold.adapters.postgres.connection import AsyncpgConnection
from freehold.adapters.sqlite.connection import AiosqliteConnection

__all__ = ["EXPLAINED", "Recorder", "recording"]

_STEPS: Final = 50
_METHODS: Final = ("execute", "fetch", "execute_many")
EXPLAINED: Final = (
    ("session_preload_libraries", "auto_explain"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_timing", "off"),
    ("auto_explain.log_nested_statements", "on"),
    ("auto_explain.log_format", "json"),
    ("auto_explain.log_level", "notice"),
)
"""Settings of a PostgreSQL database whose statements are to be recorded."""


@dataclass(slots=True)
class Recorder:
    """What was recorded since it was cleared. `steps` and `read` are of SQLite and PostgreSQL."""

    seconds: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    read: dict[str, float] = field(default_factory=dict)
    statements: dict[str, Sequence[object]] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)

    def clear(self) -> None:
        """Begin again."""
        self.seconds = 0.0
        self.steps, self.read, self.statements = {}, {}, {}

    def watch(self, driver: Any, sql: str) -> None:
        """Have the driver's connection say what it does from now on."""
        if isinstance(driver, asyncpg.Connection):
            if id(driver) not in self.known:
                self.known.add(id(driver))
                driver.add_log_listener(self._take_plan)
            return
        self.steps.setdefault(sql, 0)

        def step() -> bool:
            self.steps[sql] = self.steps.get(sql, 0) + _STEPS
            return False

        driver._conn.set_progress_handler(step, _STEPS)

    def _take_plan(self, _connection: object, message: Any) -> None:
        text = str(message.message)
        if " plan:\n" not in text:
            return
        explained = json.loads(text.partition(" plan:\n")[2])
        statement = explained["Query Text"].strip()
        self.read[statement] = self.read.get(statement, 0) + sum(_rows_read(explained["Plan"]))


@contextmanager
def recording(patch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Record what goes through the pools' connections."""
    recorder = Recorder()
    for connection_type in (AiosqliteConnection, AsyncpgConnection):
        for name in _METHODS:
            patch.setattr(connection_type, name, _recorded(getattr(connection_type, name), recorder))
    yield recorder


def _recorded(original: Any, recorder: Recorder) -> Any:
    async def call(self: Any, sql: str, parameters: Sequence[Any] = ()) -> Any:
        if not re.search(r"freehold_|last_insert_rowid", sql):
            return await original(self, sql, parameters)
        recorder.watch(self._driver, sql)
        recorder.statements[sql] = parameters
        begun = time.perf_counter()
        try:
            return await original(self, sql, parameters)
        finally:
            recorder.seconds += time.perf_counter() - begun

    return call


def _rows_read(node: dict[str, Any]) -> Iterator[float]:
    """Rows of growing tables that were looked at, node by node."""
    if node.get("Relation Name") in GROWING and "Scan" in node["Node Type"]:
        loops = node.get("Actual Loops", 1)
        rows = node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)
        yield loops * (rows + node.get("Rows Removed by Index Recheck", 0))
    elif "Index Name" in node and "Bitmap" in node["Node Type"]:
        yield node.get("Actual Loops", 1) * node.get("Actual Rows", 0)
    for below in node.get("Plans", ()):
        yield from _rows_read(below)

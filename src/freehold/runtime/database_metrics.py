"""Metrics of a service's database in this process: the duration of statements, and connections. Runtime: imports ports.

Labels of a statement are found once for each text. `table` is that of Freehold which owns the statement; for others it
is `other`: a statement may name several tables, and the text of a dynamic one has no bound.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from freehold.context import ServiceContext
from freehold.database import Measured
from freehold.metrics import DATABASE_SECONDS, Histogram, MetricFamily, MetricKind, Metrics

__all__ = ["CONNECTIONS", "FAMILIES", "QUERY_SECONDS", "TABLES", "StatementTimes", "measure_database"]

QUERY_SECONDS: Final = MetricFamily(
    "database_query_duration_seconds",
    MetricKind.HISTOGRAM,
    "How long a statement took, from its start to its result, by the table that it belongs to.",
    unit="seconds",
    labels=("operation", "table", "status"),
    semantic="db.client.operation.duration",
    semantic_labels=(("operation", "db_operation_name"), ("table", "db_collection_name"), ("status", "error_type")),
    bounds=DATABASE_SECONDS,
)
CONNECTIONS: Final = MetricFamily(
    "database_connection_pool_size",
    MetricKind.GAUGE,
    "Open connections of the pool of this process.",
    labels=("status",),
    semantic="db.client.connection.count",
    semantic_labels=(("status", "db_client_connection_state"),),
)
FAMILIES: Final = (QUERY_SECONDS, CONNECTIONS)
OPERATIONS: Final = frozenset(
    {
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "WITH",
        "COMMIT",
        "BEGIN",
        "SET",
        "CREATE",
        "DROP",
        "ALTER",
        "CALL",
        "REFRESH",
    }
)
TABLES: Final = frozenset(
    {
        "freehold_audit",
        "freehold_checkpoint",
        "freehold_dead_letter",
        "freehold_deferred",
        "freehold_event",
        "freehold_event_marker",
        "freehold_idempotency",
        "freehold_inbox",
        "freehold_lease",
        "freehold_lock",
        "freehold_meta",
        "freehold_migration",
        "freehold_object",
        "freehold_outbox",
        "freehold_outbox_log",
        "freehold_outbox_marker",
        "freehold_outbox_sent",
        "freehold_outbox_watermark",
        "freehold_parked",
        "freehold_progress",
        "freehold_projection",
        "freehold_projection_pause",
        "freehold_read_model",
        "freehold_reconciliation",
        "freehold_replay",
        "freehold_replay_error",
        "freehold_saga",
        "freehold_saga_journal",
        "freehold_schedule",
        "freehold_snapshot",
        "freehold_view",
    }
)
"""All tables of Freehold, on any engine."""
_OTHER: Final = "other"
_DEFINITIONS: Final = frozenset({"CREATE", "DROP", "ALTER"})
"""Statements of migrations: many series for one moment."""
_TEXTS_MAX: Final = 2000
_CHARACTERS_MAX: Final = 4000
_WORD: Final = re.compile(r"\s*\(*\s*([A-Za-z]+)")
_OWN: Final = re.compile(r"\bfreehold_[a-z_]+")


class StatementTimes:
    """The histograms of statements; `ended` finds that of a statement by its text."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[str, Histogram] = {}

    def ended(self, statement: str, seconds: float, *, ok: bool) -> None:
        """Note a statement that took so long."""
        found = self._known.get(statement) if ok else self._of(statement, "error")
        if found is None:
            found = self._of(statement, "ok")
            if len(self._known) < _TEXTS_MAX and len(statement) < _CHARACTERS_MAX:  # dynamic statements have no bound
                self._known[statement] = found
        found.observe(seconds)

    def _of(self, statement: str, status: str) -> Histogram:
        operation = operation_of(statement)
        table = _OTHER if operation in _DEFINITIONS else table_of(statement)
        return self._metrics.histogram(QUERY_SECONDS, operation, table, status)


def measure_database(context: ServiceContext) -> None:
    """Measure the statements and connections of a service's database, if its engine can and the setting says so."""
    database: object = context.database
    if not context.metrics.enabled or not isinstance(database, Measured):
        return
    database.measure(StatementTimes(context.metrics))
    for status in ("idle", "used"):
        context.metrics.gauge(CONNECTIONS, partial(_connections, database, status), status)


def _connections(database: Measured, status: str) -> float:
    return database.connections[status]


def operation_of(statement: str) -> str:
    """The first word of a statement, if it is a known one."""
    found = _WORD.match(statement)
    word = found.group(1).upper() if found is not None else ""
    return word if word in OPERATIONS else _OTHER


def table_of(statement: str) -> str:
    """The table of Freehold that a statement names first, or whose function it calls."""
    for name in _OWN.findall(statement):
        if name in TABLES:
            return str(name)
        owners = [table for table in TABLES if name.startswith(f"{table}_")]
        if owners:
            return max(owners, key=len)
    return _OTHER

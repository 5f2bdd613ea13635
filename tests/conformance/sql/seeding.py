"""Fills every table of Freehold's that grows, by plain SQL: the same rows on SQLite and PostgreSQL.

Times lie so that nothing is due or to be pruned but a few rows; positions, streams, keys and ids are all different.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any, Final

import asyncpg

__all__ = ["GROWING", "seed_postgres", "seed_sqlite", "write_sqlite"]

_DAY: Final = 86400
# Tables, columns, values; {i} is the row's number, {ago} and {later} a time so many seconds away, {uuid} an id.
_ROWS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "freehold_outbox",
        "partition, id, topic, key, document, staged_at",
        "{i} % {partitions}, {uuid}, 'orders.events', 'k' || {i}, {blob}, {ago:3600}",
    ),
    (
        "freehold_outbox_sent",
        "position, partition, id, topic, key, document, sent_at",
        "{i}, {i} % {partitions}, {uuid}, 'orders.events', 'k' || {i}, {blob}, {ago:{rows} - {i} + 3600}",
    ),
    (
        "freehold_schedule",
        "id, name, topic, key, document, due_at",
        "{uuid}, 'n' || {i} % 7, 'orders.events', 'k' || {i}, {blob}, {later:{i} + 3600}",
    ),
    (
        "freehold_inbox",
        "consumer, receipt_key, cancelled, received_at",
        "'shop', 'r' || {i}, {false}, {ago:{i}}",
    ),
    (
        "freehold_deferred",
        "consumer, topic, key, receipt_key, document, attempts, due_at, deferred_at, reason, lane, lane_position",
        (
            "'shop', 'orders.commands', 'k' || {i}, 'd' || {i}, {blob}, 1, {later:{i} + 3600}, {ago:60}, '',"
            " 'lane' || {i} % 7, {i}"
        ),
    ),
    (
        "freehold_deferred",
        "consumer, topic, key, receipt_key, document, attempts, due_at, deferred_at, reason",
        (
            "'crowded', 'orders.commands', 'crowd', 'c' || {i}, {blob}, 1,"
            " CASE {i} WHEN 1 THEN {later:3600} ELSE {ago:60} END, {ago:60}, ''"
        ),
    ),
    (
        "freehold_dead_letter",
        (
            "id, direction, consumer, topic, key, message_id, type, reason, error_type, detail, attempts, failed_at,"
            " status, document, ended_at"
        ),
        (
            "{uuid}, 'inbound', 'shop', 'orders.commands', 'k' || {i}, {uuid}, 'orders.place-order', 'invalid-body',"
            " 'E', '', 1, {ago:{i}}, CASE {i} % 10 WHEN 0 THEN 'discarded' ELSE 'dead' END, {blob},"
            " CASE {i} % 10 WHEN 0 THEN {ago:{i}} END"
        ),
    ),
    (
        "freehold_saga",
        (
            "id, definition, definition_version, key, correlation_id, status, version, document, due_at, created_at,"
            " updated_at"
        ),
        (
            "{uuid}, 'checkout', 1, 'k' || {i}, {uuid}, CASE {i} % 2 WHEN 0 THEN 'running' ELSE 'completed' END, 1,"
            " {blob}, CASE {i} % 2 WHEN 0 THEN {later:{i} + 3600} END, {ago:{i}}, {ago:{i}}"
        ),
    ),
    ("freehold_saga_journal", "saga_id, at, step, what, attempt, detail", "{uuid}, {ago:{i}}, 's', 'sent', 1, ''"),
    (
        "freehold_idempotency",
        "scope, key, fingerprint, status, content_type, body, claimed_at",
        "'shop', 'k' || {i}, 'f', 200, 'text/plain', {blob}, {ago:{i}}",
    ),
    ("freehold_audit", "at, actor, action, subject, reason", "{ago:{i}}, 'ada', 'drop', 's' || {i}, ''"),
    (
        "freehold_event",
        ("stream, version, category, bucket, type, schema_version, id, data, correlation_id, hlc, recorded_at"),
        (
            "'order-' || ({i} % ({rows} / 10)), {i} / ({rows} / 10) + 1, 'order', {i} % 256, 'orders.order-placed', 1,"
            " {uuid}, {blob}, {uuid}, 1, {ago:{rows} - {i}}"
        ),
    ),
    (
        "freehold_snapshot",
        "kind, stream, version, schema_version, fingerprint, data, saved_at",
        "CASE {i} % 2 WHEN 0 THEN 'order' ELSE 'old' END, 'order-' || {i}, 1, 1, 'f', {blob}, {ago:{i}}",
    ),
    (
        "freehold_replay",
        (
            "projection, generation, position, end_position, applied, failed, state, actor, reason, tables, created_at,"
            " updated_at"
        ),
        "'p' || {i} % 7, 1, 9, 9, 9, 0, 'done', 'ada', '', '[]', {ago:{i}}, {ago:{i}}",
    ),
    (
        "freehold_replay_error",
        "replay, position, stream, version, event_id, type, error, detail",
        "{i}, 1, 's', 1, {uuid}, 't', 'E', ''",
    ),
    (
        "freehold_reconciliation",
        "dataset, finished_at, seconds, compared, drifted, repaired, inconclusive, error",
        "'d' || {i} % 7, {ago:{i}}, 1.0, 1, 0, 0, 0, ''",
    ),
)
GROWING: Final = frozenset(table for table, _, _ in _ROWS)
"""The tables that grow with what a service does; the others have a row a partition, a projection, a member."""


def seed_sqlite(file: str, rows: int, partitions: int) -> None:
    """Fill a SQLite database; nothing is analysed."""
    with sqlite3.connect(file) as connection:
        now = int(time.time() * 1_000_000)
        for table, columns, values in _ROWS:
            selected = _filled(
                values,
                i="g.i",
                rows=str(rows),
                partitions=str(partitions),
                uuid="lower(hex(randomblob(4))||'-'||hex(randomblob(2))||'-4000-8000-'||hex(randomblob(6)))",
                blob="zeroblob(300)",
                false="0",
                ago=lambda seconds: f"({now} - ({seconds}) * 1000000)",
                later=lambda seconds: f"({now} + ({seconds}) * 1000000)",
            )
            connection.execute(
                f"WITH RECURSIVE g (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {rows})"
                f" INSERT INTO {table} ({columns}) SELECT {selected} FROM g"
            )
    connection.close()


def write_sqlite(file: str, statement: str) -> None:
    """Run a statement of its own."""
    with sqlite3.connect(file) as connection:
        connection.execute(statement)
    connection.close()


async def seed_postgres(url: str, rows: int, partitions: int) -> None:
    """Fill a PostgreSQL database; the caller decides on statistics."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        for table, columns, values in _ROWS:
            selected = _filled(
                values,
                i="g.i",
                rows=str(rows),
                partitions=str(partitions),
                uuid="gen_random_uuid()",
                blob="decode(repeat('00', 300), 'hex')",
                false="false",
                ago=lambda seconds: f"(now() - ({seconds}) * interval '1 second')",
                later=lambda seconds: f"(now() + ({seconds}) * interval '1 second')",
            )
            await connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {selected} FROM generate_series(1, {rows}) AS g (i)"
            )
    finally:
        await connection.close()


def _filled(values: str, *, ago: Any, later: Any, **words: str) -> str:
    for word, value in words.items():
        values = values.replace("{" + word + "}", value)
    for word, time_of in (("ago", ago), ("later", later)):
        while (begin := values.find("{" + word + ":")) >= 0:
            end = values.index("}", begin)
            values = values[:begin] + time_of(values[begin + len(word) + 2 : end]) + values[end + 1 :]
    return values

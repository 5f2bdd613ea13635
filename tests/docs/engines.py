"""README's table of what works on which engine, made from the ports that the adapters declare: `python -m
tests.docs.engines --write`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.docs.blocks import ROOT

from freehold.aggregate.store import SNAPSHOTS
from freehold.audit.store import AUDIT
from freehold.consistency.store import PROGRESS
from freehold.deadletters.store import DEAD_LETTERS
from freehold.eventstore.store import EVENTS
from freehold.idempotency.store import IDEMPOTENCY
from freehold.inbox.store import INBOX
from freehold.leases.store import LEASES
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.sent import SENT
from freehold.outbox.store import OUTBOX
from freehold.ports import Port
from freehold.projection.read_model_store import READ_MODELS
from freehold.projection.replay_store import REPLAYS
from freehold.projection.store import CHECKPOINTS
from freehold.projection.view_store import VIEWS
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.store import RECONCILIATIONS
from freehold.runtime.adapters import database_engines
from freehold.saga.store import SAGAS
from freehold.schedule.store import SCHEDULE
from freehold.sql import SQL

__all__ = ["COVERED", "README", "page"]

README: Final = ROOT / "README.md"
_COLUMNS: Final = {
    "SQLite": "SQLite",
    "PostgreSQL": "PostgreSQL",
    "MariaDB": "MariaDB",
    "memory": "memory (for tests, no SQL)",
}
_HEAD: Final = "| pattern | "


@dataclass(frozen=True, slots=True)
class _Row:
    """A line: `ports` are what it takes; `words` say more than yes or no."""

    text: str
    ports: Sequence[Port[Any]] = ()
    words: Mapping[str, str] = field(default_factory=dict)


_ROWS: Final = (
    _Row("database per service, migrations, settings", words={"memory": "rows by key, no migrations"}),
    _Row("outbox and relay, order per key", (OUTBOX, SENT, BROKER_LOGS, LEASES)),
    _Row("inbox, retries, dead letters", (INBOX, DEAD_LETTERS)),
    _Row("scheduled messages that can be cancelled", (SCHEDULE,)),
    _Row("orchestrated sagas", (SAGAS,)),
    _Row("choreography, replicas by events", (INBOX,)),
    _Row("event store, aggregates, snapshots, upcasting", (EVENTS, SNAPSHOTS)),
    _Row(
        "projections: rebuild beside the live one, parked streams, historical replay",
        (EVENTS, CHECKPOINTS, READ_MODELS, REPLAYS, LEASES, AUDIT),
    ),
    _Row(
        "materialized views, refreshed without blocking readers",
        (VIEWS, LEASES),
        words={"SQLite": "emulated by tables", "MariaDB": "emulated by tables"},
    ),
    _Row("consistency tokens: a read that includes an earlier write, over services", (PROGRESS,)),
    _Row("replicas compared with their source and repaired", (RECONCILIATIONS, DATASETS, LEASES)),
    _Row("HTTP with transactions and Idempotency-Key (FastAPI)", (IDEMPOTENCY,)),
    _Row("outbox and inbox in a transaction of your own driver", (OUTBOX, INBOX, SQL)),
    _Row("several processes, survives kill -9", words={"SQLite": "yes, one machine", "memory": "no"}),
)
COVERED: Final = frozenset(port for row in _ROWS for port in row.ports)
"""The ports of which the table says something."""


def page() -> str:
    """README as it should be."""
    text = README.read_text(encoding="utf-8")
    begin = text.index(_HEAD)
    return text[:begin] + _table() + text[text.index("\n\n", begin) :]


def _table() -> str:
    engines = database_engines()
    if set(engines) != set(_COLUMNS):
        sys.exit(f"the table has the engines {sorted(_COLUMNS)}, and the adapters declare {sorted(engines)}")
    lines = [f"{_HEAD}{' | '.join(_COLUMNS.values())} |", "| --- |" + " --- |" * len(_COLUMNS)]
    lines += [f"| {row.text} | {' | '.join(_cell(row, name, engines[name]) for name in _COLUMNS)} |" for row in _ROWS]
    return "\n".join(lines)


def _cell(row: _Row, engine: str, ports: Sequence[Port[Any]]) -> str:
    if not set(row.ports) <= set(ports):
        return "no"
    return row.words.get(engine, "yes")


def main() -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table; without it the table is checked")
    wanted = page()
    if parser.parse_args().write:
        README.write_text(wanted, encoding="utf-8")
    elif README.read_text(encoding="utf-8") != wanted:
        sys.exit("README.md is out of date: python -m tests.docs.engines --write")


if __name__ == "__main__":
    main()

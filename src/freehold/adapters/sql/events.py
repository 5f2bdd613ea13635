"""The event store on an SQL database. Base of the SQL engines: imports its siblings and the ports.

The engines append and select events in different ways (see each one's `events`); reading of rows is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from freehold.adapters.sql.engine.connection import Row
from freehold.adapters.sql.store import SqlStore
from freehold.database import DatabaseTransaction
from freehold.eventstore.store import (
    EVERYTHING,
    NO_HEADERS,
    Append,
    AppendResult,
    Body,
    EventFilter,
    EventStore,
    NewEvent,
    Page,
    RecordedEvent,
)

__all__ = ["SqlEventStore", "columns", "encode_headers"]

_Times = list[datetime]
_headers = msgspec.json.Decoder(dict[str, str])


def columns(recorded_seconds: str) -> str:
    """The columns that `_recorded` reads, in this order.

    Times are read as seconds since 1970: a float holds microseconds far beyond this century. The drivers' conversion of
    a time would cost a third of fetching a row.
    """
    return (
        f"position, stream, version, {recorded_seconds}, id, type, schema_version, data, correlation_id, hlc,"
        " causation_id, trace_parent, subject_key, headers"
    )


class SqlEventStore(SqlStore, EventStore):
    """Stores events in one table, by position."""

    @abstractmethod
    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """As the port says."""

    @abstractmethod
    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """As the port says."""

    @abstractmethod
    async def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 1000,
        backwards: bool = False,
        db_tx: DatabaseTransaction | None = None,
    ) -> Sequence[RecordedEvent]:
        """As the port says."""

    @abstractmethod
    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Body]:
        """As the port says."""

    @abstractmethod
    async def version(self, stream: str, *, db_tx: DatabaseTransaction | None = None) -> int:
        """As the port says."""

    @abstractmethod
    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        """As the port says."""

    @abstractmethod
    async def high_water_mark(self) -> int:
        """As the port says."""

    @abstractmethod
    async def count(
        self, after: int, through: int, event_filter: EventFilter = EVERYTHING, *, limit: int = 100_000
    ) -> int:
        """As the port says."""

    @abstractmethod
    async def recorded_at(self, after: int, event_filter: EventFilter = EVERYTHING) -> datetime | None:
        """As the port says."""

    def _recorded(self, rows: Sequence[Row]) -> list[RecordedEvent]:
        """Convert rows column by column: work for each single row would cost several times as much as fetching it."""
        if not rows:
            return []
        positions, streams, versions, times, ids, types, schemas, datas, correlations, hlcs, causations, *rest = zip(
            *rows, strict=True
        )
        traces, subjects, headers = rest
        events = map(
            NewEvent,
            self._dialect.read_uuids(ids),
            types,
            schemas,
            datas,
            self._dialect.read_uuids(correlations),
            hlcs,
            self._causes(causations),
            traces,
            subjects,
            map(_read_headers, headers),
        )
        return list(
            map(RecordedEvent, positions, streams, versions, msgspec.convert(times, _Times, strict=False), events)
        )

    def _causes(self, raws: Sequence[Any]) -> Iterable[UUID | None]:
        caused = [raw for raw in raws if raw is not None]
        if not caused:
            return raws
        read = iter(self._dialect.read_uuids(caused))
        return (None if raw is None else next(read) for raw in raws)


def _read_headers(raw: bytes | None) -> Mapping[str, str]:
    return NO_HEADERS if raw is None else _headers.decode(raw)


def encode_headers(headers: Mapping[str, str]) -> bytes | None:
    """Headers in their stored form; None where there are none."""
    return msgspec.json.encode(dict(headers)) if headers else None

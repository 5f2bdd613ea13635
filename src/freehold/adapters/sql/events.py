"""The event store on an SQL database. Base of the SQL engines: imports its siblings and the ports.

How events are appended and found differs between the engines (see each one's `events`); what rows hold is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from freehold.adapters.sql.connection import Row
from freehold.adapters.sql.store import SqlStore
from freehold.database import UnitOfWork
from freehold.eventstore.store import (
    EVERYTHING,
    Append,
    Appended,
    Body,
    EventFilter,
    EventStore,
    NewEvent,
    Page,
    RecordedEvent,
)

__all__ = ["COLUMNS", "SqlEventStore", "encode_headers"]

COLUMNS: Final = (
    "position, stream, version, recorded_at, id, type, schema_version, data, correlation_id, hlc, causation_id,"
    " trace_parent, subject_key, headers"
)
"""What `_recorded` reads, in this order."""
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_headers = msgspec.json.Decoder(dict[str, str])


class SqlEventStore(SqlStore, EventStore):
    """Events in one table, by position."""

    @abstractmethod
    async def append(self, unit: UnitOfWork, appends: Sequence[Append]) -> Sequence[Appended]:
        """As the port says."""

    @abstractmethod
    async def append_alone(self, appends: Sequence[Append]) -> Sequence[Appended]:
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
        unit: UnitOfWork | None = None,
    ) -> Sequence[RecordedEvent]:
        """As the port says."""

    @abstractmethod
    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, unit: UnitOfWork | None = None
    ) -> Sequence[Body]:
        """As the port says."""

    @abstractmethod
    async def version(self, stream: str, *, unit: UnitOfWork | None = None) -> int:
        """As the port says."""

    @abstractmethod
    async def read_all(self, after: int, *, limit: int = 1000, wanted: EventFilter = EVERYTHING) -> Page:
        """As the port says."""

    @abstractmethod
    async def head(self) -> int:
        """As the port says."""

    @abstractmethod
    async def count(self, after: int, through: int, wanted: EventFilter = EVERYTHING, *, limit: int = 100_000) -> int:
        """As the port says."""

    @abstractmethod
    async def recorded_at(self, after: int, wanted: EventFilter = EVERYTHING) -> datetime | None:
        """As the port says."""

    def _recorded(self, rows: Sequence[Row]) -> list[RecordedEvent]:
        uuid, time, found = self._dialect.read_uuid, self._dialect.read_time, []
        # Unpacked and passed on by position: histories of thousands of events are read through here.
        for position, stream, version, at, event_id, name, schema, data, correlation, hlc, cause, *rest in rows:
            trace_parent, subject_key, headers = rest
            event = NewEvent(
                uuid(event_id),
                name,
                schema,
                data,
                uuid(correlation),
                hlc,
                None if cause is None else uuid(cause),
                trace_parent,
                subject_key,
                _NO_HEADERS if headers is None else _headers.decode(headers),
            )
            found.append(RecordedEvent(position, stream, version, time(at), event))
        return found


def encode_headers(headers: Mapping[str, str]) -> bytes | None:
    """Headers as they are stored; None for none."""
    return msgspec.json.encode(dict(headers)) if headers else None

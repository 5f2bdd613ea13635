"""Reads the metrics of a service that are in its database and on its broker. Runtime: iterates over declarations.

Each reading has a time limit of its own, so that a locked table does not hide the others. What cannot be read has no
sample: a backlog that is not known is not empty. The values are kept for some seconds, and concurrent requests share
one read, so that many scrapes cost the database no more than one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.errors import FreeholdError
from freehold.metrics import MetricFamily, SeriesKey, Values
from freehold.pattern import Pattern, Reading
from freehold.telemetry.exposition import Series, gauges
from freehold.telemetry.families import LAST_SUCCESS, OVERDUE, PRUNE_OVERDUE, READ_SECONDS, UP

__all__ = ["DatabaseReader"]

_LIMIT_SECONDS: Final = 3.0
_KEPT_SECONDS: Final = 5.0
Found = dict[MetricFamily, dict[SeriesKey, float]]


class DatabaseReader:
    """The reader of one service. Its database is open; without a broker the readings of the broker are not `up`."""

    def __init__(
        self,
        context: ServiceContext,
        patterns: Sequence[Pattern[Any]],
        *,
        limit_seconds: float = _LIMIT_SECONDS,
        kept_seconds: float = _KEPT_SECONDS,
    ) -> None:
        self._context = context
        self._readings = [*(each for pattern in patterns for each in pattern.readings), *_generic(patterns)]
        self._limit_seconds = limit_seconds
        self._kept_seconds = kept_seconds
        self._turn = asyncio.Lock()
        self._read_at = float("-inf")
        self._values: Found = {}
        self._succeeded: dict[SeriesKey, float] = {}

    async def series(self) -> Sequence[Series]:
        """The values, at most `kept_seconds` old. Never raises: `freehold_reading_up` says what could not be read."""
        async with self._turn:
            if time.monotonic() - self._read_at >= self._kept_seconds:
                self._values = await self._read()
                self._read_at = time.monotonic()
        return list(gauges(self._context.service, self._values))

    async def _read(self) -> Found:
        context = self._context
        wanted = [each for each in self._readings if each.port in context.stores and each.needed(context)]
        found: Found = {}
        state: Found = {UP: {}, READ_SECONDS: {}, LAST_SUCCESS: {}}
        # Readings of the database follow one another: together they take one connection of the pool.
        sides = [[each for each in wanted if each.asks_broker is broker] for broker in (False, True)]
        for values, known in await asyncio.gather(*(self._side(side) for side in sides)):
            for family, series in values.items():
                found.setdefault(family, {}).update(series)
            for family, series in known.items():
                state[family].update(series)
        state[LAST_SUCCESS] = {key: at for key, at in self._succeeded.items() if key in state[UP]}
        return {**found, **state}

    async def _side(self, readings: Sequence[Reading]) -> tuple[Found, Found]:
        found: Found = {}
        state: Found = {UP: {}, READ_SECONDS: {}}
        for each in readings:
            begun, key = time.monotonic(), (each.name,)
            values = await self._one(each)
            state[READ_SECONDS][key] = time.monotonic() - begun
            state[UP][key] = values is not None
            if values is not None:
                self._succeeded[key] = time.time()
                for family, series in values.items():
                    found.setdefault(family, {}).update(series)
        return found, state

    async def _one(self, reading: Reading) -> Values | None:
        try:
            async with asyncio.timeout(self._limit_seconds):
                return await reading.read(self._context)
        except (FreeholdError, TimeoutError):
            return None


def _generic(patterns: Sequence[Pattern[Any]]) -> list[Reading]:
    """The readings that follow from other declarations: work with due times, and rows with a retention."""
    found = []
    for due in (each for pattern in patterns for each in pattern.due):

        async def overdue(context: ServiceContext, due: Any = due) -> Values:
            seconds = await due.seconds(context)
            return {OVERDUE: {(due.what,): max(0.0, -seconds) if seconds is not None else 0.0}}

        found.append(Reading(f"due {due.what}", (OVERDUE,), due.port, overdue, due.needed))
    for rows in (each for pattern in patterns for each in pattern.pruning if each.oldest_seconds is not None):

        async def kept(context: ServiceContext, rows: Any = rows) -> Values:
            past_seconds = await rows.oldest_seconds(context) - rows.keep_seconds(context.settings)
            return {PRUNE_OVERDUE: {(rows.title,): max(0.0, past_seconds)}}

        found.append(Reading(f"pruning {rows.title}", (PRUNE_OVERDUE,), rows.port, kept))
    return found

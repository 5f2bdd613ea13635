"""The metrics of running services, as text. Runtime: imports the running service and its package."""

from __future__ import annotations

import asyncio
from collections import Counter as CountOf
from collections.abc import Iterable
from functools import partial

from freehold.lifecycle import RunnerState
from freehold.metrics import Gauge
from freehold.runtime import RunningService
from freehold.telemetry.database_reader import DatabaseReader
from freehold.telemetry.exposition import Series, exposed
from freehold.telemetry.families import RUNNERS

__all__ = ["database_metrics", "of_process", "process_metrics"]


async def process_metrics(*services: RunningService) -> bytes:
    """What these services counted in this process; asks neither database nor broker. The text is written in a thread:
    it may have thousands of lines. Raises `ConfigurationError` without `prometheus_client`.
    """
    return await asyncio.to_thread(exposed, [series for running in services for series in of_process(running)])


async def database_metrics(*services: RunningService) -> bytes:
    """What is in the databases of these services and waits on their brokers, at most some seconds old. Each value is
    the same in every process of a service, so scrape one of them. Raises as `process_metrics` does.
    """
    read = await asyncio.gather(*(_reader(running).series() for running in services))
    return await asyncio.to_thread(exposed, [series for found in read for series in found])


def of_process(running: RunningService) -> Iterable[Series]:
    """The series of one service in this process."""
    name = running.service.name
    for family, series in running.context.metrics.series():
        yield name, family, series
    states = CountOf(runner.state for runner in running.watched)
    yield name, RUNNERS, {(state.value,): Gauge(partial(states.__getitem__, state)) for state in RunnerState}


def _reader(running: RunningService) -> DatabaseReader:
    """The reader of a running service, made at the first request."""
    found = running.context.find(DatabaseReader)
    if found is None:
        found = DatabaseReader(running.context, running.patterns)
        running.context.offer(DatabaseReader, found)
    return found

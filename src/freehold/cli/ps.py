"""`freehold ps`: the metrics of each service, one service a row. Face: iterates over the declarations of patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from freehold.broker import TopicLag
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess, broker_lags
from freehold.pattern import Column, Metric, Pattern
from freehold.runtime.health import read_metrics
from freehold.runtime.patterns import PATTERNS

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Row:
    """A service. `lag` is None if the broker could not be asked; `own` are the metrics of the project's patterns."""

    access: ServiceAccess
    metrics: Mapping[str, Any]
    lag: Sequence[TopicLag] | None
    own: Mapping[str, Any]


@click.command("ps", help="Show relays and what waits: outbox, lag, deferred, dead letters, sagas.")
@service_option
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Show each service."""
    async with project.open(names) as opened:
        lags = await broker_lags(opened)
        rows = [row for _, row in await opened.each(lambda access: _read(access, lags.get(access.name)))]
    if as_json:
        answer_json({"services": [_document(row) for row in rows], "failed": opened.as_document()})
    else:
        _print(rows)
    return opened.code


async def _read(access: ServiceAccess, lag: Sequence[TopicLag] | None) -> _Row:
    metrics = await read_metrics(access.context, PATTERNS)
    return _Row(access, metrics, lag, await read_metrics(access.context, access.service.patterns))


def _document(row: _Row) -> Mapping[str, Any]:
    return {"service": row.access.name, **row.metrics, "lag": row.lag, "metrics": row.own}


def _print(rows: Sequence[_Row]) -> None:
    own = {each.name: each for row in rows for each in row.access.service.patterns}
    columns = _columns([*PATTERNS, *own.values()])
    shown = [(row.access.name, *(show(row) for show in columns.values())) for row in rows]
    table("Services", ("service", *columns), shown, empty="none")


def _columns(patterns: Sequence[Pattern[Any]]) -> Mapping[str, Callable[[_Row], object]]:
    """The columns by title, each with the function that gives its cell. The lag is beside the pattern that reads."""
    found: dict[str, Callable[[_Row], object]] = {}
    for pattern in patterns:
        if pattern.reads is not None:
            found["lag"] = _lag
        for column in pattern.columns or map(_column_of, pattern.metrics):
            found[column.title] = partial(_cell, column)
    return found


def _column_of(metric: Metric) -> Column:
    return Column(metric.name, metric.name, partial(_number, metric.name))


def _number(metric: str, metrics: Mapping[str, Any]) -> str:
    return f"{metrics[metric]:g}"


def _lag(row: _Row) -> object:
    return "?" if row.lag is None else sum(each.pending for each in row.lag)


def _cell(column: Column, row: _Row) -> object:
    metrics = {**row.metrics, **row.own}
    return column.show(metrics) if column.metric in metrics else "-"

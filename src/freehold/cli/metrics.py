"""`freehold metrics`: what is in the databases of the services, once, as Prometheus reads it. Face."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

import click

from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json
from freehold.cli.project import Project
from freehold.metrics import Gauge
from freehold.runtime.patterns import patterns_of
from freehold.telemetry import DatabaseReader, exposed
from freehold.telemetry.exposition import Series
from freehold.telemetry.families import UP

__all__ = ["command"]


@click.command("metrics", help="Print the metrics of the services' databases, as Prometheus reads them.")
@service_option
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Print them. A service whose database cannot be opened has one sample, which says so."""
    async with project.open(names) as opened:
        read = await opened.each(lambda access: DatabaseReader(access.context, patterns_of(access.service)).series())
        lost: list[Series] = [(name, UP, {("database",): Gauge(lambda: 0.0)}) for name in opened.failed]
    series = [*(each for _, found in read for each in found), *lost]
    if as_json:
        answer_json({"metrics": [each for one in series for each in _documents(one)], "failed": opened.as_document()})
    else:
        sys.stdout.write(exposed(series).decode())
        sys.stdout.flush()
    return opened.code


def _documents(series: Series) -> Iterable[Mapping[str, object]]:
    service, family, values = series
    for labels, value in values.items():
        if isinstance(value, Gauge):
            names = dict(zip(family.labels, labels, strict=True))
            yield {"service": service, "name": family.name, "labels": names, "value": value.read()}

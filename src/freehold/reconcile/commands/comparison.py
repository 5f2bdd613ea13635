"""`freehold reconcile`: compare replicas with their sources, and repair what has drifted. Face.

The source is read through its API, at the URL in the settings (`[peers]`). Without such a URL it is read in the
database of its service, if the project knows that service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import click

from freehold.cli.options import actor, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, duration, note, note_on_interrupt, table
from freehold.cli.project import Project
from freehold.cli.services import OpenedServices, ServiceAccess
from freehold.clock import SystemClock
from freehold.errors import ConfigurationError, NotFound
from freehold.reconcile.dataset import Replica
from freehold.reconcile.operations import LocalSource, make_reconciler, peer_source
from freehold.reconcile.reconcile_runner import record_of
from freehold.reconcile.reconciler import Reconciliation
from freehold.reconcile.side import DatasetSource
from freehold.reconcile.store import RECONCILIATIONS
from freehold.settings import Settings
from freehold.transaction import Transactions

__all__ = ["command"]

_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True)
class _Result:
    """A comparison of one service's replica."""

    service: str
    result: Reconciliation


@click.command("reconcile", help="Compare replicas with their sources, and row by row where they differ; repair drift.")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@service_option
@click.option("--repair", is_flag=True, help="Overwrite rows that have drifted with those of the source.")
@click.option("--reason", default="", help="Why; recorded in the audit table. Needed with --repair.")
@json_option
@asynchronous
async def command(
    project: Project, datasets: tuple[str, ...], names: tuple[str, ...], *, repair: bool, reason: str, as_json: bool
) -> int:
    """Exit code 0 if all replicas agree in the end, 1 if one does not, 3 if a source cannot be reached."""
    if repair and not reason.strip():
        raise click.UsageError("--repair needs a --reason")
    results: list[_Result] = []
    async with _opened(project, names) as (opened, replicas):
        wanted = [(access, replica) for access, replica in replicas if not datasets or replica.dataset.name in datasets]
        if not wanted:
            raise NotFound("no such replica is declared", hint=_known(replicas))
        with note_on_interrupt(lambda: f"{len(results)} of {len(wanted)} replicas were compared"):
            for access, replica in wanted:
                sources = [each for each in opened.services if each.name == replica.dataset.service]
                async with opened.catching(access, *sources, what=f"{replica.dataset.name} in {access.name}"):
                    result = await _compare(opened, access, replica, (actor(), reason.strip()) if repair else None)
                    results.append(_Result(access.name, result))
    if as_json:
        answer_json({"results": results, "failed": opened.as_document()})
    else:
        _print(results)
    return opened.code or (0 if all(each.result.agrees for each in results) else 1)


@asynccontextmanager
async def _opened(
    project: Project, names: tuple[str, ...]
) -> AsyncIterator[tuple[OpenedServices, list[tuple[ServiceAccess, Replica]]]]:
    """Open the services with replicas, and the sources without the URL of an API."""
    services = project.select(names, declared=True)
    wanted = {each.name for each in services if each.replicas}
    sources = {replica.dataset.service for each in services for replica in each.replicas.values()}
    near = {name for name in sources - Settings.load(services[0].name).peers.keys() if name in project.services}
    if not wanted:
        raise ConfigurationError("no service declares a replica", hint="service.replicates(dataset, table=…)")
    async with project.open(sorted(wanted | near)) as opened:
        replicas = [
            (access, replica)
            for access in opened.services
            if access.name in wanted
            for replica in access.service.replicas.values()
        ]
        yield opened, replicas


async def _compare(
    opened: OpenedServices, access: ServiceAccess, replica: Replica, repair_for: tuple[str, str] | None
) -> Reconciliation:
    clock = SystemClock()
    source = _source(opened, access, replica)
    reconciler = make_reconciler(access.name, access.stores, replica, source, clock, repair_for=repair_for)
    result = await reconciler.run()
    await access.stores[RECONCILIATIONS].add(record_of(result, clock))
    return result


def _source(opened: OpenedServices, access: ServiceAccess, replica: Replica) -> DatasetSource:
    owner = replica.dataset.service
    if owner not in access.settings.peers:
        for other in opened.services:
            table = other.service.published_datasets.get(replica.dataset.name)
            if other.name == owner and table is not None:
                return LocalSource(Transactions(other.context), table)
    return peer_source(replica, access.settings)


def _known(replicas: list[tuple[ServiceAccess, Replica]]) -> str:
    return f"known: {', '.join(sorted({replica.dataset.name for _, replica in replicas}))}"


def _print(results: list[_Result]) -> None:
    columns = (
        "replica of",
        "in",
        "rows",
        "ranges",
        "differed",
        "in flight",
        "drifted",
        "repaired",
        "inconclusive",
        "took",
    )
    rows = [
        (
            each.result.dataset,
            each.service,
            each.result.compared,
            each.result.ranges,
            each.result.ranges_differing,
            each.result.in_flight,
            len(each.result.drift),
            len(each.result.repaired),
            len(each.result.inconclusive),
            duration(each.result.seconds),
        )
        for each in results
    ]
    table("Replicas", columns, rows, empty="none")
    for each in results:
        if not each.result.complete:
            why = "its service did not reach the barrier" if each.result.inconclusive else "too many rows are wrong"
            note(f"{each.result.dataset} in {each.service} was not compared to the end: {why}")
    drift = [(each.service, each.result.dataset, one) for each in results for one in each.result.drift]
    if drift:
        shown = [(service, name, one.key, one.kind, ", ".join(one.fields)) for service, name, one in drift]
        table("Drift", ("in", "replica of", "key", "is", "fields"), shown[:_SHOWN_MAX], empty="none")
        if len(shown) > _SHOWN_MAX:
            note(f"and {len(shown) - _SHOWN_MAX} more; --json shows all")

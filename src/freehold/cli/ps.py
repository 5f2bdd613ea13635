"""`freehold ps`: who relays, and what waits, service by service. Face.

Leases carry no time: that a relay lives is seen by its beat moving. So they are looked at twice, half a lease apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import click

from freehold.broker import TopicLag
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, duration, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess, broker_lags
from freehold.deadletters.store import DEAD_LETTERS
from freehold.inbox.store import INBOX, DeferredStats
from freehold.leases.store import LEASES, LeaseRecord
from freehold.outbox.store import LEASE_PREFIX, OUTBOX, OutboxStats
from freehold.saga.store import SAGAS, SagaStatus

__all__ = ["command"]

_MEMBERS = f"{LEASE_PREFIX}member/"


@dataclass(frozen=True, slots=True)
class _Relay:
    """A relay by its name, which is host, process id and a number; `alive` where its beat moved."""

    name: str
    alive: bool
    partitions: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A service. `lag` is None where the broker could not be asked; `metrics` are those of its own patterns."""

    service: str
    relays: Sequence[_Relay]
    partitions: int
    outbox: OutboxStats
    deferred: DeferredStats
    dead_letters: int
    sagas: dict[str, int]
    lag: Sequence[TopicLag] | None
    metrics: dict[str, float]


@click.command("ps", help="Show who relays, and what waits: unsent, unread, deferred, dead, stuck.")
@service_option
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Show each service."""
    async with project.open(names) as opened:
        lags = await broker_lags(opened)
        rows = [row for _, row in await opened.each(lambda access: _look(access, lags.get(access.name)))]
    if as_json:
        answer_json({"services": list(rows), "failed": opened.as_document()})
    else:
        _print(rows)
    return opened.code


async def _look(access: ServiceAccess, lag: Sequence[TopicLag] | None) -> _Row:
    stores = access.stores
    before = await stores[LEASES].list(LEASE_PREFIX)
    await asyncio.sleep(access.settings.lease_seconds / 2)
    after = await stores[LEASES].list(LEASE_PREFIX)
    sagas: dict[str, int] = {}
    for (_, status), number in (await stores[SAGAS].count()).items():
        sagas[status.value] = sagas.get(status.value, 0) + number
    return _Row(
        service=access.name,
        relays=_relays(before, after),
        partitions=stores[OUTBOX].partitions,
        outbox=await stores[OUTBOX].stats(),
        deferred=await stores[INBOX].stats(),
        dead_letters=sum((await stores[DEAD_LETTERS].count()).values()),
        sagas=sagas,
        lag=lag,
        metrics={
            metric.name: await metric.read(access.context)
            for pattern in access.service.patterns
            for metric in pattern.metrics
            if metric.port in stores
        },
    )


def _relays(before: Sequence[LeaseRecord], after: Sequence[LeaseRecord]) -> list[_Relay]:
    seen = {each.name: (each.token, each.beat) for each in before}
    members = [each for each in after if each.name.startswith(_MEMBERS) and each.owner]
    return [
        _Relay(
            name=member.owner,
            alive=seen.get(member.name) != (member.token, member.beat),
            partitions=sum(each.owner == member.owner and not each.name.startswith(_MEMBERS) for each in after),
        )
        for member in members
    ]


def _print(rows: Sequence[_Row]) -> None:
    columns = ("service", "relays", "unsent", "oldest", "unread", "deferred", "dead", "sagas", "stuck sagas")
    own = list(dict.fromkeys(name for row in rows for name in row.metrics))
    shown = []
    for row in rows:
        alive = [relay for relay in row.relays if relay.alive]
        held = sum(relay.partitions for relay in alive)
        unread = "?" if row.lag is None else sum(each.pending for each in row.lag)
        going = row.sagas.get(SagaStatus.RUNNING, 0) + row.sagas.get(SagaStatus.COMPENSATING, 0)
        stuck = row.sagas.get(SagaStatus.NEEDS_ATTENTION, 0)
        relays = f"{len(alive)} ({held}/{row.partitions})" if alive else "none"
        oldest = duration(row.outbox.oldest_seconds) if row.outbox.pending else "-"
        counts = (row.deferred.pending, row.dead_letters, going, stuck)
        more = [f"{row.metrics[name]:g}" if name in row.metrics else "-" for name in own]
        shown.append((row.service, relays, row.outbox.pending, oldest, unread, *counts, *more))
    table("Services", (*columns, *own), shown, empty="none")

"""`freehold monitor`: the lag of consumers and replicas, in messages and in seconds. Face.

A replica's way is its source's outbox, the broker, and what its own service has deferred; what the last comparison
found stands beside it. Where two services are one row apart, the sum of these is what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from freehold.broker import TopicLag
from freehold.cli.options import asynchronous, json_option, seconds, service_option
from freehold.cli.output import ago, answer_json, note, seconds_of, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess, broker_lags
from freehold.inbox.store import INBOX, DeferredStats
from freehold.outbox.store import OUTBOX, OutboxStats
from freehold.reconcile.store import RECONCILIATIONS, ReconciliationRecord

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Consumer:
    """What a service has not handled of a topic. `lag` is None where the broker could not be asked, and where no
    consumer of the service has ever been there.
    """

    service: str
    topic: str
    lag: int | None
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """What waits in the tables of a service: to be published, and to be tried again."""

    service: str
    outbox: int
    outbox_oldest_seconds: float | None
    deferred: int
    deferred_oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Replica:
    """A replica of a dataset. `outbox` is what its source has not published yet (of anything), None where not known."""

    dataset: str
    service: str
    outbox: int | None
    lag: int | None
    deferred: int
    lag_seconds: float | None
    last: ReconciliationRecord | None


@click.command("monitor", help="Show the lag of consumers and replicas, in messages and in seconds.")
@service_option
@click.option(
    "--max-lag-seconds",
    "max_lag_seconds",
    type=seconds(),
    metavar="SECONDS",
    help="Exit code 1 where something lags or waits for longer, or a replica was found wrong.",
)
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], max_lag_seconds: float | None, *, as_json: bool) -> int:
    """Numbers to alarm on: the seconds grow while nothing moves, however few the messages are. What nothing can be
    written to shows none: so it is written to.
    """
    async with project.open(names) as opened:
        lags = await broker_lags(opened, probes=max_lag_seconds is not None)
        consumers = [each for access in opened.services for each in _consumers(access, lags.get(access.name))]
        outboxes = {access.name: stats for access, stats in await opened.each(lambda each: each.stores[OUTBOX].stats())}
        looks = await opened.each(lambda access: _replicas(access, consumers, outboxes))
        replicas = [each for _, found in looks for each in found]
        kept = [_kept(access.name, *found) for access, found in await opened.each(_look)]
        if max_lag_seconds is not None:
            await opened.written()
    late = _late(consumers, kept, replicas, max_lag_seconds)
    if as_json:
        found = {"consumers": consumers, "services": kept, "replicas": replicas}
        answer_json({**found, "late": late, "failed": opened.as_document()})
    else:
        _print(consumers, kept, replicas)
        for each in late:
            note(f"{each} lags, or is wrong")
    return opened.code or (1 if late else 0)


def _consumers(access: ServiceAccess, lag: Sequence[TopicLag] | None) -> list[_Consumer]:
    known = {each.topic: each for each in lag or ()}
    topics = sorted(access.service.topics | set(known))
    return [
        _Consumer(
            service=access.name,
            topic=topic,
            lag=known[topic].pending if topic in known else None,
            oldest_seconds=known[topic].oldest_seconds if topic in known else None,
        )
        for topic in topics
    ]


async def _look(access: ServiceAccess) -> tuple[OutboxStats, DeferredStats]:
    return await access.stores[OUTBOX].stats(), await access.stores[INBOX].stats()


def _kept(service: str, outbox: OutboxStats, deferred: DeferredStats) -> _Kept:
    return _Kept(
        service=service,
        outbox=outbox.pending,
        outbox_oldest_seconds=outbox.oldest_seconds if outbox.pending else None,
        deferred=deferred.pending,
        deferred_oldest_seconds=deferred.oldest_seconds if deferred.pending else None,
    )


async def _replicas(
    access: ServiceAccess, consumers: Sequence[_Consumer], outboxes: Mapping[str, OutboxStats]
) -> list[_Replica]:
    found: list[_Replica] = []
    deferred = await access.stores[INBOX].stats()
    for replica in access.service.replicas.values():
        topic = f"{replica.dataset.service}.events"
        consumer = next((each for each in consumers if each.service == access.name and each.topic == topic), None)
        outbox = outboxes.get(replica.dataset.service)
        ages = [
            consumer.oldest_seconds if consumer else None,
            outbox.oldest_seconds if outbox and outbox.pending else None,
            deferred.oldest_seconds if deferred.pending else None,
        ]
        known = [age for age in ages if age is not None]
        found.append(
            _Replica(
                dataset=replica.dataset.name,
                service=access.name,
                outbox=outbox.pending if outbox else None,
                lag=consumer.lag if consumer else None,
                deferred=deferred.pending,
                lag_seconds=max(known, default=0.0),
                last=await access.stores[RECONCILIATIONS].last(replica.dataset.name),
            )
        )
    return found


def _late(
    consumers: Sequence[_Consumer], kept: Sequence[_Kept], replicas: Sequence[_Replica], max_lag_seconds: float | None
) -> list[str]:
    if max_lag_seconds is None:
        return []
    late = [f"{each.service} in {each.topic}" for each in consumers if (each.oldest_seconds or 0.0) > max_lag_seconds]
    for place in kept:
        if (place.outbox_oldest_seconds or 0.0) > max_lag_seconds:
            late.append(f"{place.service} in what it publishes")
        if (place.deferred_oldest_seconds or 0.0) > max_lag_seconds:
            late.append(f"{place.service} in what it has deferred")
    for each in replicas:
        wrong = each.last is not None and (each.last.drifted > each.last.repaired or bool(each.last.error))
        if wrong or (each.lag_seconds or 0.0) > max_lag_seconds:
            late.append(f"{each.dataset} in {each.service}")
    return late


def _print(consumers: Sequence[_Consumer], kept: Sequence[_Kept], replicas: Sequence[_Replica]) -> None:
    rows = [
        (each.service, each.topic, "?" if each.lag is None else each.lag, seconds_of(each.oldest_seconds))
        for each in consumers
    ]
    table("Consumers", ("service", "reads", "lag", "oldest (s)"), rows, empty="none of these services reads anything")
    columns: tuple[str, ...] = ("service", "outbox", "oldest (s)", "deferred", "oldest deferred (s)")
    held = [
        (
            each.service,
            each.outbox,
            seconds_of(each.outbox_oldest_seconds),
            each.deferred,
            seconds_of(each.deferred_oldest_seconds),
        )
        for each in kept
    ]
    table("Kept", columns, held, empty="no service")
    shown = [
        (
            each.dataset,
            each.service,
            "?" if each.outbox is None else each.outbox,
            "?" if each.lag is None else each.lag,
            each.deferred,
            seconds_of(each.lag_seconds),
            ago(each.last.finished_at) if each.last else "never",
            "-" if each.last is None else each.last.error or each.last.drifted,
            "-" if each.last is None else each.last.repaired,
        )
        for each in replicas
    ]
    columns = ("replica of", "in", "outbox", "lag", "deferred", "lag (s)", "compared", "drifted", "repaired")
    table("Replicas", columns, shown, empty="no service declares a replica")

"""`freehold monitor`: the lag of consumers and replicas, in messages and in seconds. Face.

A change of a replica passes the outbox of its source, the broker, and perhaps the deferred messages of its own service:
the numbers of all three are shown, with the result of the last comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import click

from freehold.broker import TopicLag
from freehold.cli.options import asynchronous, json_option, seconds, service_option
from freehold.cli.output import ago, answer_json, note, seconds_of, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess, broker_lags
from freehold.inbox.store import INBOX
from freehold.outbox.store import OUTBOX
from freehold.reconcile.store import RECONCILIATIONS, ReconciliationRecord

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Consumer:
    """The lag of a service on a topic. `lag` is None if the broker could not be asked, or if no consumer of the service
    has ever read the topic.
    """

    service: str
    topic: str
    lag: int | None
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Backlog:
    """The messages that wait in the tables of a service: to be published, and to be retried."""

    service: str
    outbox: int
    outbox_oldest_seconds: float | None
    deferred: int
    deferred_oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Replica:
    """A replica of a dataset. `outbox` is the number of all messages in the outbox of its source; None if unknown."""

    dataset: str
    service: str
    outbox: int | None
    lag: int | None
    deferred: int
    lag_seconds: float
    last: ReconciliationRecord | None


@click.command("monitor", help="Show the lag of consumers and replicas, in messages and in seconds.")
@service_option
@click.option(
    "--max-lag-seconds",
    "max_lag_seconds",
    type=seconds(),
    metavar="SECONDS",
    help="Exit code 1 if something lags or waits for longer, or a replica was found wrong.",
)
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], max_lag_seconds: float | None, *, as_json: bool) -> int:
    """Show numbers for alarms: the seconds grow while nothing moves, even for a single message. A broker or a database
    that takes no writes has no lag, so with a limit each one gets a probe.
    """
    async with project.open(names) as opened:
        lags = await broker_lags(opened, probes=max_lag_seconds is not None)
        consumers = [each for access in opened.services for each in _consumers(access, lags.get(access.name))]
        backlogs = {access.name: found for access, found in await opened.each(_backlog)}
        read = await opened.each(lambda access: _replicas(access, consumers, backlogs))
        replicas = [each for _, found in read for each in found]
        if max_lag_seconds is not None:
            await opened.check_writes()
    late = _late(consumers, backlogs.values(), replicas, max_lag_seconds)
    if as_json:
        found = {"consumers": consumers, "services": list(backlogs.values()), "replicas": replicas}
        answer_json({**found, "late": late, "failed": opened.as_document()})
    else:
        _print(consumers, backlogs.values(), replicas)
        for each in late:
            note(f"{each}: lags or is wrong")
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


async def _backlog(access: ServiceAccess) -> _Backlog:
    outbox, deferred = await access.stores[OUTBOX].stats(), await access.stores[INBOX].stats()
    return _Backlog(
        service=access.name,
        outbox=outbox.pending,
        outbox_oldest_seconds=outbox.oldest_seconds if outbox.pending else None,
        deferred=deferred.pending,
        deferred_oldest_seconds=deferred.oldest_seconds if deferred.pending else None,
    )


async def _replicas(
    access: ServiceAccess, consumers: Sequence[_Consumer], backlogs: Mapping[str, _Backlog]
) -> list[_Replica]:
    found: list[_Replica] = []
    own = backlogs[access.name]
    for replica in access.service.replicas.values():
        topic = f"{replica.dataset.service}.events"
        consumer = next((each for each in consumers if each.service == access.name and each.topic == topic), None)
        source = backlogs.get(replica.dataset.service)
        ages = [
            consumer.oldest_seconds if consumer else None,
            source.outbox_oldest_seconds if source else None,
            own.deferred_oldest_seconds,
        ]
        known = [age for age in ages if age is not None]
        found.append(
            _Replica(
                dataset=replica.dataset.name,
                service=access.name,
                outbox=source.outbox if source else None,
                lag=consumer.lag if consumer else None,
                deferred=own.deferred,
                lag_seconds=max(known, default=0.0),
                last=await access.stores[RECONCILIATIONS].last(replica.dataset.name),
            )
        )
    return found


def _late(
    consumers: Sequence[_Consumer],
    backlogs: Iterable[_Backlog],
    replicas: Sequence[_Replica],
    max_lag_seconds: float | None,
) -> list[str]:
    if max_lag_seconds is None:
        return []
    late = [
        f"{each.service}: consumer of {each.topic}"
        for each in consumers
        if (each.oldest_seconds or 0.0) > max_lag_seconds
    ]
    for backlog in backlogs:
        if (backlog.outbox_oldest_seconds or 0.0) > max_lag_seconds:
            late.append(f"{backlog.service}: outbox")
        if (backlog.deferred_oldest_seconds or 0.0) > max_lag_seconds:
            late.append(f"{backlog.service}: deferred messages")
    for each in replicas:
        wrong = each.last is not None and (each.last.drifted > each.last.repaired or bool(each.last.error))
        if wrong or each.lag_seconds > max_lag_seconds:
            late.append(f"{each.service}: replica of {each.dataset}")
    return late


def _print(consumers: Sequence[_Consumer], backlogs: Iterable[_Backlog], replicas: Sequence[_Replica]) -> None:
    rows = [
        (each.service, each.topic, "?" if each.lag is None else each.lag, seconds_of(each.oldest_seconds))
        for each in consumers
    ]
    table("Consumers", ("service", "reads", "lag", "oldest (s)"), rows, empty="none of these services reads a topic")
    columns: tuple[str, ...] = ("service", "outbox", "oldest (s)", "deferred", "oldest deferred (s)")
    waiting = [
        (
            each.service,
            each.outbox,
            seconds_of(each.outbox_oldest_seconds),
            each.deferred,
            seconds_of(each.deferred_oldest_seconds),
        )
        for each in backlogs
    ]
    table("Backlogs", columns, waiting, empty="no service")
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

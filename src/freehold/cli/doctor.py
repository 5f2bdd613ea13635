"""`freehold doctor`: everything a guarantee needs, checked, with the remedy. Face.

A thing that cannot be examined, a setting that is wrong among them, is a finding as well: the other things are examined
all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import click

from freehold.binding import Stores, open_broker, open_stores
from freehold.broker import BrokerOptions
from freehold.cli.context import Project
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, duration, line
from freehold.clock import HybridLogicalClock, SystemClock
from freehold.consistency.signing import TokenSigner
from freehold.database import Finding, check_owner
from freehold.errors import ConfigurationError, FreeholdError, Unavailable
from freehold.redaction import shown_url
from freehold.runtime.checks import check_windows
from freehold.runtime.preparation import unprepared
from freehold.runtime.startup_log import is_default
from freehold.saga import SagaEngine
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Post
from freehold.variables import unread_names

__all__ = ["command"]

_LATE_SECONDS = 60.0


@dataclass(slots=True)
class _Report:
    """What was found about one thing. `reached` is false where it did not answer."""

    place: str
    findings: list[Finding] = field(default_factory=list)
    reached: bool = True


@click.command("doctor", help="Check settings, connections and what the guarantees need of servers.")
@service_option
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Exit code 0 all well, 1 something to remedy, 3 something cannot be reached."""
    reports: list[_Report] = []
    working: list[tuple[Service, Settings]] = []
    for service in project.select(names):
        try:
            working.append((service, Settings.load(service.name)))
        except ConfigurationError as error:
            reports.append(_Report(f"settings of {service.name}", [_bad("settings", error)]))
    reports += _examine_names(project, [service for service, _ in working])
    brokers: dict[tuple[str, BrokerOptions], list[Settings]] = {}
    for _, settings in working:
        brokers.setdefault((settings.broker, settings.broker_options), []).append(settings)
    reports += await asyncio.gather(*(_examine_database(*each) for each in working))
    reports += await asyncio.gather(*(_examine_broker(users) for users in brokers.values()))
    unwell = [finding for report in reports for finding in report.findings if not finding.ok]
    if as_json:
        answer_json({"ok": not unwell, "reports": reports})
    else:
        _print(reports)
    if any(not report.reached for report in reports):
        return 3
    return 1 if unwell else 0


@asynccontextmanager
async def _reporting(report: _Report) -> AsyncIterator[None]:
    """What goes wrong inside becomes a finding."""
    try:
        yield
    except Unavailable as error:
        report.reached = False
        report.findings.append(_bad("connection", error))
    except FreeholdError as error:
        report.findings.append(_bad("configuration" if isinstance(error, ConfigurationError) else "state", error))


def _examine_names(project: Project, services: list[Service]) -> list[_Report]:
    """Names in the environment and the settings file that nothing reads, where there are some."""
    unread = unread_names(project.services or [service.name for service in services])
    findings = [
        Finding(each.name, ok=False, detail="nothing reads it", remedy=f"is {each.nearest} meant?" if each.nearest
                else "unset it, or see the reference of settings for the name that is meant")
        for each in unread
    ]  # fmt: skip
    return [_Report("names of settings", findings)] if findings else []


async def _examine_database(service: Service, settings: Settings) -> _Report:
    report = _Report(f"database of {service.name}")
    async with _reporting(report):
        stores = open_stores(settings.database, settings.database_options, service.migrations)
        try:
            report.findings.append(_place(settings))
            await stores.database.open()
            check_owner(stores.database.features, await stores.database.owner(), service.name)
            report.findings += await stores.database.examine()
            pending = await stores.database.pending()
            detail = f"{len(pending)} are missing, the first is {pending[0]}" if pending else "all are applied"
            remedy = f"freehold db upgrade --service {service.name}" if pending else ""
            report.findings.append(Finding("migrations", ok=not pending, detail=detail, remedy=remedy))
            if not pending:
                report.findings.append(_preparation(service.name, await unprepared(service, stores)))
                report.findings += await _examine_contents(service, stores)
        finally:
            await stores.database.close()
    return report


def _place(settings: Settings) -> Finding:
    """Which database it is; to run on the local file that is used without any setting is no defect."""
    default = is_default(settings)
    detail = shown_url(settings.database) + (", the default: no setting names one" if default else "")
    named = f"FREEHOLD_{settings.service.upper().replace('-', '_')}_DATABASE"
    return Finding("database", ok=True, detail=detail, remedy=f"name another one with {named}" if default else "")


def _preparation(name: str, missing: list[str]) -> Finding:
    """What run time would have to make: a role that may make no tables cannot."""
    detail = f"not made yet: {', '.join(missing)}" if missing else "all that run time needs is made"
    remedy = f"freehold db upgrade --service {name}" if missing else ""
    return Finding("preparation", ok=not missing, detail=detail, remedy=remedy)


async def _examine_contents(service: Service, stores: Stores) -> list[Finding]:
    """What stands still, or waits for a person."""
    dead = sum((await stores.dead_letters.count()).values())
    outbox = await stores.outbox.stats()
    late = bool(outbox.pending) and outbox.oldest_seconds > _LATE_SECONDS
    waiting = f"{outbox.pending} wait, the oldest for {duration(outbox.oldest_seconds)}"
    found = [
        Finding("outbox", ok=not late, detail=waiting if outbox.pending else "empty",
                remedy="is a relay running (freehold ps), and the broker up?" if late else ""),
        Finding("dead letters", ok=not dead, detail=f"{dead} wait for a person" if dead else "none",
                remedy=f"freehold dlq list --service {service.name}" if dead else ""),
    ]  # fmt: skip
    if service.sagas:
        clock = SystemClock()
        post = Post(service.name, stores.database, stores.outbox, stores.schedule, clock, HybridLogicalClock(clock))
        found += await SagaEngine(service.sagas, stores.sagas, post).findings()
    return found


async def _examine_broker(users: list[Settings]) -> _Report:
    """Examine a broker for the services that use it: the windows are settings of each."""
    settings = users[0]
    report = _Report(f"broker of {', '.join(each.service for each in users)}")
    async with _reporting(report):
        broker = open_broker(settings.broker, settings.broker_options)
        try:
            await broker.open()
            report.findings.append(Finding("broker", ok=True, detail=broker.features.technology))
            report.findings += await broker.examine()
            report.findings += [_tokens(each) for each in users]
            for each in users:
                try:
                    check_windows(each, broker.features)
                except ConfigurationError as error:
                    report.findings.append(_bad("dedup window", error))
            if all(finding.ok for finding in report.findings):
                kept = duration(min(each.dedup_window_seconds for each in users))
                again = duration(broker.features.redelivery_horizon_seconds)
                detail = f"receipts are kept for {kept}, messages come again for {again}"
                report.findings.append(Finding("dedup window", ok=True, detail=detail))
        finally:
            await broker.close()
    return report


def _tokens(settings: Settings) -> Finding:
    """Whether the service gives and takes consistency tokens over HTTP; to do without is no defect."""
    subject = f"consistency tokens of {settings.service}"
    try:
        signer = TokenSigner.of(settings.token_secret)
    except ConfigurationError as error:
        return _bad(subject, error)
    detail = "signed" if signer else "not given or taken over HTTP: there is no token_secret"
    return Finding(subject, ok=True, detail=detail)


def _bad(subject: str, error: FreeholdError) -> Finding:
    return Finding(subject, ok=False, detail=error.message, remedy=error.hint)


def _print(reports: list[_Report]) -> None:
    for report in reports:
        line(report.place, style="bold")
        for finding in report.findings:
            mark, style = ("ok", "") if finding.ok else ("!!", "bold red")
            line(f"  {mark} {finding.subject}: {finding.detail}", style=style)
            if finding.remedy:
                line(f"     {'advice' if finding.ok else 'remedy'}: {finding.remedy}")
    bad = sum(not finding.ok for report in reports for finding in report.findings)
    line(f"{bad} to remedy" if bad else "all well", style="bold red" if bad else "bold green")

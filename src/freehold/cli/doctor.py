"""`freehold doctor`: everything a guarantee needs, checked, with the remedy. Face."""

from __future__ import annotations

from dataclasses import dataclass

import click

from freehold.binding import open_broker, open_stores
from freehold.broker import Broker, BrokerOptions
from freehold.cli.context import Project, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, console
from freehold.clock import HybridLogicalClock, SystemClock
from freehold.database import Finding
from freehold.errors import ConfigurationError, FreeholdError, Unavailable
from freehold.runtime.checks import check_windows
from freehold.saga import SagaEngine
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Post

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Report:
    """What was found about one thing. `reached` is false where it did not answer."""

    place: str
    findings: tuple[Finding, ...]
    reached: bool = True


@click.command("doctor", help="Check settings, connections and what the guarantees need of servers.")
@service_option
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Exit code 0 all well, 1 something to remedy, 3 something cannot be reached."""
    reports: list[_Report] = []
    brokers: dict[tuple[str, BrokerOptions], Broker] = {}
    for service in project.select(names):
        settings = Settings.load(service.name)
        reports.append(await _examine_database(service, settings))
        place = (settings.broker, settings.broker_options)
        if place not in brokers:
            brokers[place] = open_broker(settings.broker, settings.broker_options)
            reports.append(await _examine_broker(brokers[place], settings))
    unwell = [finding for report in reports for finding in report.findings if not finding.ok]
    if as_json:
        found = [{"place": each.place, "reached": each.reached, "findings": list(each.findings)} for each in reports]
        answer_json({"ok": not unwell, "reports": found})
    else:
        _print(reports)
    if any(not report.reached for report in reports):
        return 3
    return 1 if unwell else 0


async def _examine_database(service: Service, settings: Settings) -> _Report:
    place = f"database of {service.name}"
    stores = open_stores(settings.database, settings.database_options, service.migrations)
    try:
        await stores.database.open()
        findings = list(await stores.database.examine())
        pending = await stores.database.pending()
        detail = f"{len(pending)} are missing" if pending else "all are applied"
        findings.append(Finding("migrations", ok=not pending, detail=detail, remedy="freehold db upgrade"))
        if not pending:
            findings += await _examine_contents(service, settings)
    except Unavailable as error:
        return _Report(place, (_bad(error),), reached=False)
    except FreeholdError as error:
        return _Report(place, (_bad(error),))
    finally:
        await stores.database.close()
    return _Report(place, tuple(findings))


async def _examine_contents(service: Service, settings: Settings) -> list[Finding]:
    """What waits for a person: dead letters, sagas."""
    stores = open_stores(settings.database, settings.database_options, service.migrations)
    await stores.database.open()
    try:
        dead = sum((await stores.dead_letters.count()).values())
        remedy = "freehold dlq list"
        found = [Finding("dead letters", ok=not dead, detail=f"{dead} wait for a person", remedy=remedy)]
        outbox = await stores.outbox.stats()
        late = outbox.oldest_seconds > 60
        detail = f"{outbox.pending} wait, the oldest for {outbox.oldest_seconds:.0f} s"
        found.append(Finding("outbox", ok=not late, detail=detail, remedy="is a relay running, and the broker up?"))
        if service.sagas:
            clock = SystemClock()
            post = Post(service.name, stores.database, stores.outbox, stores.schedule, clock, HybridLogicalClock(clock))
            found += await SagaEngine(service.sagas, stores.sagas, post).findings()
        return found
    finally:
        await stores.database.close()


async def _examine_broker(broker: Broker, settings: Settings) -> _Report:
    place = f"broker ({broker.features.technology})"
    try:
        await broker.open()
        findings = list(await broker.examine())
        windows = f"receipts are kept for {settings.dedup_window_seconds / 86400:g} days"
        try:
            check_windows(settings, broker.features)
        except ConfigurationError as error:
            findings.append(Finding("dedup window", ok=False, detail=error.message, remedy=error.hint))
        else:
            findings.append(Finding("dedup window", ok=True, detail=windows))
    except Unavailable as error:
        return _Report(place, (_bad(error),), reached=False)
    except FreeholdError as error:
        return _Report(place, (_bad(error),))
    finally:
        await broker.close()
    return _Report(place, tuple(findings))


def _bad(error: FreeholdError) -> Finding:
    return Finding("connection", ok=False, detail=error.message, remedy=error.hint)


def _print(reports: list[_Report]) -> None:
    for report in reports:
        console.print(report.place, style="bold")
        for finding in report.findings:
            mark, style = ("ok", "green") if finding.ok else ("!!", "bold red")
            console.print(f"  {mark} ", style=style, end="")
            console.print(f"{finding.subject}: {finding.detail}", markup=False)
            if not finding.ok and finding.remedy:
                console.print(f"     remedy: {finding.remedy}", markup=False)

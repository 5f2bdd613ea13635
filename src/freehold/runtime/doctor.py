"""Everything that a guarantee needs, checked, with the fix: what `freehold doctor` shows. Runtime: walks over what
the patterns declare.

A thing that cannot be examined, a setting that is wrong among them, is a finding as well: the other things are examined
all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from freehold.broker import Broker, BrokerOptions
from freehold.clock import SystemClock, duration
from freehold.consistency.signer import TokenSigner
from freehold.database import CheckResult, Defect, check_owner
from freehold.errors import ConfigurationError, FreeholdError, Unavailable
from freehold.inbox.former_database import check_former_database
from freehold.inbox.group_state import check_consumers
from freehold.inbox.pattern import check_windows
from freehold.outbox.log_watch import check_log_mark, check_logs
from freehold.outbox.relays import is_relay_at_work
from freehold.redaction import shown_url
from freehold.runtime.adapters import open_broker
from freehold.runtime.backlog import examine_patterns
from freehold.runtime.database_schema import defects, unprepared
from freehold.runtime.patterns import patterns_of, service_context, stores_of
from freehold.runtime.startup_log import is_default
from freehold.service import Service
from freehold.settings import Settings
from freehold.variables import unread_names

__all__ = ["Report", "examine_services"]

_PROBE_SECONDS = 5.0


@dataclass(slots=True)
class Report:
    """What was found about one thing. `reached` is false where it did not answer."""

    place: str
    findings: list[CheckResult] = field(default_factory=list)
    reached: bool = True


async def examine_services(selected: Sequence[Service], known: Collection[str]) -> list[Report]:
    """Examine the settings, databases and brokers of services. `known` are all services whose settings may be there:
    names of settings that belong to none of them, and that nothing reads, are told.
    """
    reports: list[Report] = []
    working: list[tuple[Service, Settings]] = []
    for service in selected:
        try:
            working.append((service, Settings.load(service.name)))
        except ConfigurationError as error:
            reports.append(Report(f"settings of {service.name}", [_bad("settings", error)]))
    reports += _examine_names(known or [service.name for service, _ in working])
    brokers: dict[tuple[str, BrokerOptions], list[tuple[Service, Settings]]] = {}
    for service, settings in working:
        brokers.setdefault((settings.broker, settings.broker_options), []).append((service, settings))
    reports += await asyncio.gather(*(_examine_database(*each) for each in working))
    reports += await asyncio.gather(*(_examine_broker(users) for users in brokers.values()))
    return reports


@asynccontextmanager
async def _reporting(report: Report) -> AsyncIterator[None]:
    """What goes wrong inside becomes a finding."""
    try:
        yield
    except Unavailable as error:
        report.reached = False
        report.findings.append(_bad("connection", error))
    except FreeholdError as error:
        report.findings.append(_bad("configuration" if isinstance(error, ConfigurationError) else "state", error))


def _examine_names(known: Collection[str]) -> list[Report]:
    """Names in the environment and the settings file that nothing reads, where there are some."""
    unread = unread_names(known)
    findings = [
        CheckResult(each.name, ok=False, detail="nothing reads it", fix=f"is {each.nearest} meant?" if each.nearest
                else "unset it, or see the reference of settings for the name that is meant")
        for each in unread
    ]  # fmt: skip
    return [Report("names of settings", findings)] if findings else []


async def _examine_database(service: Service, settings: Settings) -> Report:
    report = Report(f"database of {service.name}")
    async with _reporting(report):
        stores = stores_of(service, settings)
        try:
            report.findings.append(_place(settings))
            await stores.database.open()
            check_owner(stores.database.features, await stores.database.owner(), service.name)
            report.findings += await stores.database.run_checks()
            pending = await stores.database.pending()
            detail = f"{len(pending)} are missing, the first is {pending[0]}" if pending else "all are applied"
            fix = f"freehold db upgrade --service {service.name}" if pending else ""
            report.findings.append(CheckResult("migrations", ok=not pending, detail=detail, fix=fix))
            if not pending:
                write = stores.database.probe
                report.findings.append(await _probe(report, "write probe", "a row was written and committed", write))
            context, patterns = service_context(service, stores, settings), patterns_of(service)
            wrong = await defects(context, patterns)
            report.findings.append(_schema(service.name, wrong))
            if not pending and not any(each.vital for each in wrong):
                report.findings.append(_preparation(service.name, await unprepared(context, patterns)))
                report.findings += await examine_patterns(context, patterns)
                report.findings.append(await check_logs(stores, settings))
                report.findings.append(await check_former_database(service.name, stores))
        finally:
            await stores.database.close()
    return report


def _place(settings: Settings) -> CheckResult:
    """Which database it is; to run on the local file that is used without any setting is no defect."""
    default = is_default(settings)
    detail = shown_url(settings.database) + (", the default: no setting names one" if default else "")
    named = f"FREEHOLD_{settings.service.upper().replace('-', '_')}_DATABASE"
    return CheckResult("database", ok=True, detail=detail, fix=f"name another one with {named}" if default else "")


def _schema(name: str, found: list[Defect]) -> CheckResult:
    """What is there, compared with what the migrations made."""
    if not found:
        return CheckResult("schema", ok=True, detail="as the migrations made it")
    more = f", and {len(found) - 1} more: freehold db status --service {name}" if len(found) > 1 else ""
    first = next((each for each in found if not each.lossless), found[0])
    return CheckResult("schema", ok=False, detail=f"{first.subject} {first.problem}{more}", fix=first.fix)


def _preparation(name: str, missing: list[str]) -> CheckResult:
    """What run time would have to make: a role that may make no tables cannot."""
    detail = f"not made yet: {', '.join(missing)}" if missing else "all that run time needs is made"
    fix = f"freehold db upgrade --service {name}" if missing else ""
    return CheckResult("preparation", ok=not missing, detail=detail, fix=fix)


async def _probe(report: Report, subject: str, detail: str, write: Callable[[float], Awaitable[None]]) -> CheckResult:
    """A write that shows whether work gets on. What keeps it is a finding, and everything else is looked at as well."""
    begun = time.monotonic()
    try:
        await write(_PROBE_SECONDS)
    except FreeholdError as error:
        report.reached = report.reached and not isinstance(error, Unavailable)
        return _bad(subject, error)
    return CheckResult(subject, ok=True, detail=f"{detail} in {(time.monotonic() - begun) * 1000:.0f} ms")


async def _probe_broker(report: Report, broker: Broker, service: str) -> CheckResult:
    return await _probe(report, f"write probe of {service}", "a record was taken", partial(broker.probe, service))


async def _examine_broker(services: list[tuple[Service, Settings]]) -> Report:
    """Examine a broker for the services that use it: the windows are settings of each."""
    users = [settings for _, settings in services]
    settings = users[0]
    report = Report(f"broker of {', '.join(each.service for each in users)}")
    async with _reporting(report):
        broker = open_broker(settings.broker, settings.broker_options)
        try:
            await broker.open()
            report.findings.append(CheckResult("broker", ok=True, detail=broker.features.technology))
            report.findings += await broker.run_checks()
            report.findings += await asyncio.gather(*(_probe_broker(report, broker, each.service) for each in users))
            report.findings += await asyncio.gather(*(_examine_log(broker, *each) for each in services))
            consumers = (_examine_consumers(broker, *each) for each in services if each[0].topics)
            report.findings += await asyncio.gather(*consumers)
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
                report.findings.append(CheckResult("dedup window", ok=True, detail=detail))
        finally:
            await broker.close()
    return report


async def _examine_consumers(broker: Broker, service: Service, settings: Settings) -> CheckResult:
    """What the service's consumers wait for."""
    seconds = settings.broker_options.lease_seconds
    clock = SystemClock()
    return await check_consumers(broker, service.name, seconds, clock, partial(_at_work, service, settings))


async def _examine_log(broker: Broker, service: Service, settings: Settings) -> CheckResult:
    """Whether the log has come as far as the service has seen it; a database that does not say is told of elsewhere."""
    stores = stores_of(service, settings)
    try:
        await stores.database.open()
        if not await stores.database.pending():
            return await check_log_mark(broker, stores, settings)
        detail = "not known: migrations are missing"
    except FreeholdError:
        detail = "not known: the database does not say"
    finally:
        await stores.database.close()
    return CheckResult(f"log of {service.name}", ok=True, detail=detail)


async def _at_work(service: Service, settings: Settings) -> bool:
    """Whether a relay of the service runs somewhere: a lease of it has a holder that beats."""
    stores = stores_of(service, settings)
    try:
        await stores.database.open()
        return await is_relay_at_work(service_context(service, stores, settings))
    except FreeholdError:
        return False  # that is told with the database
    finally:
        await stores.database.close()


def _tokens(settings: Settings) -> CheckResult:
    """Whether the service gives and takes consistency tokens over HTTP; to do without is no defect."""
    subject = f"consistency tokens of {settings.service}"
    try:
        signer = TokenSigner.of(settings.token_secret)
    except ConfigurationError as error:
        return _bad(subject, error)
    detail = "signed" if signer else "not given or taken over HTTP: there is no token_secret"
    return CheckResult(subject, ok=True, detail=detail)


def _bad(subject: str, error: FreeholdError) -> CheckResult:
    return CheckResult(subject, ok=False, detail=error.message, fix=error.hint)

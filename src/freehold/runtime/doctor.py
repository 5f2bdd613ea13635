"""The checks of `freehold doctor`: settings, databases and brokers, with a fix for each failure. Runtime: iterates over
the declarations of patterns.

If something cannot be examined, that is a finding, and everything else is examined nevertheless. A database is opened
once, and stays open until the brokers were examined, which need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from freehold.broker import Broker, BrokerOptions
from freehold.clock import SystemClock, duration
from freehold.consistency.signer import TokenSigner
from freehold.context import ServiceContext
from freehold.database import CheckResult, Database, Defect, check_owner
from freehold.errors import ConfigurationError, FreeholdError, Unavailable
from freehold.inbox.former_database import check_former_database
from freehold.inbox.group_state import check_consumers
from freehold.inbox.pattern import check_windows
from freehold.outbox.log_watch import check_log_mark, check_logs
from freehold.outbox.relays import is_relay_at_work
from freehold.redaction import shown_url
from freehold.runtime.adapters import open_broker
from freehold.runtime.backlog import check_patterns
from freehold.runtime.database_schema import defects, unprepared
from freehold.runtime.patterns import patterns_of, service_context, stores_of
from freehold.runtime.startup_log import is_default
from freehold.service import Service
from freehold.settings import Settings
from freehold.variables import unread_names

__all__ = ["Report", "check_services"]

_PROBE_SECONDS = 5.0


@dataclass(slots=True)
class Report:
    """The findings about one thing. `reached` is false if it did not answer."""

    place: str
    findings: list[CheckResult] = field(default_factory=list)
    reached: bool = True


@dataclass(slots=True)
class _Subject:
    """A service to examine. `context` is set if its database is open, belongs to it, and has all migrations."""

    service: Service
    settings: Settings
    context: ServiceContext | None = None


async def check_services(selected: Sequence[Service], known: Collection[str]) -> list[Report]:
    """Examine the settings, databases and brokers of services. `known` are the names of all services that may have
    settings: names of settings that none of them reads are reported.
    """
    reports: list[Report] = []
    subjects: list[_Subject] = []
    for service in selected:
        try:
            subjects.append(_Subject(service, Settings.load(service.name)))
        except ConfigurationError as error:
            reports.append(Report(f"settings of {service.name}", [_bad("settings", error)]))
    reports += _check_names(known or [each.service.name for each in subjects])
    brokers: dict[tuple[str, BrokerOptions], list[_Subject]] = {}
    for each in subjects:
        brokers.setdefault((each.settings.broker, each.settings.broker_options), []).append(each)
    async with AsyncExitStack() as opened:
        reports += await asyncio.gather(*(_check_database(each, opened) for each in subjects))
        reports += await asyncio.gather(*(_check_broker(users) for users in brokers.values()))
    return reports


@asynccontextmanager
async def _reporting(report: Report) -> AsyncIterator[None]:
    """Make a finding of an error in the block."""
    try:
        yield
    except Unavailable as error:
        report.reached = False
        report.findings.append(_bad("connection", error))
    except FreeholdError as error:
        report.findings.append(_bad("configuration" if isinstance(error, ConfigurationError) else "state", error))


def _check_names(known: Collection[str]) -> list[Report]:
    """Names in the environment and the settings file that nothing reads, if there are any."""
    unknown = "unset it, or see the reference of settings for the correct name"
    findings = [
        CheckResult(
            each.name,
            ok=False,
            detail="nothing reads it",
            fix=f"is {each.nearest} meant?" if each.nearest else unknown,
        )
        for each in unread_names(known)
    ]
    return [Report("names of settings", findings)] if findings else []


async def _check_database(subject: _Subject, opened: AsyncExitStack) -> Report:
    """Examine a service's database, and leave it open: `opened` closes it."""
    service, settings = subject.service, subject.settings
    report = Report(f"database of {service.name}")
    async with _reporting(report):
        stores = stores_of(service, settings)
        report.findings.append(_place(settings))
        opened.push_async_callback(stores.database.close)
        await stores.database.open()
        check_owner(stores.database.features, await stores.database.owner(), service.name)
        report.findings += await stores.database.run_checks()
        context = service_context(service, stores, settings)
        migrated = await _check_migrations(report, service.name, stores.database)
        if migrated:
            subject.context = context
            write = stores.database.probe
            report.findings.append(await _probe(report, "write probe", "a row was written and committed", write))
        patterns = patterns_of(service)
        wrong = await defects(context, patterns)
        report.findings.append(_schema(service.name, wrong))
        if migrated and not any(each.vital for each in wrong):
            report.findings.append(_preparation(service.name, await unprepared(context, patterns)))
            report.findings += await check_patterns(context, patterns)
            report.findings.append(await check_logs(stores, settings))
            report.findings.append(await check_former_database(service.name, stores))
    return report


async def _check_migrations(report: Report, name: str, database: Database) -> bool:
    """Whether all migrations are applied."""
    pending = await database.pending()
    detail = f"{len(pending)} are missing, the first is {pending[0]}" if pending else "all are applied"
    fix = f"freehold db upgrade --service {name}" if pending else ""
    report.findings.append(CheckResult("migrations", ok=not pending, detail=detail, fix=fix))
    return not pending


def _place(settings: Settings) -> CheckResult:
    """Which database it is. The local file that is used without any setting is no failure."""
    default = is_default(settings)
    detail = shown_url(settings.database) + (", the default: no setting names one" if default else "")
    named = f"FREEHOLD_{settings.service.upper().replace('-', '_')}_DATABASE"
    return CheckResult("database", ok=True, detail=detail, fix=f"name another one with {named}" if default else "")


def _schema(name: str, found: list[Defect]) -> CheckResult:
    """The schema, compared with what the migrations made."""
    if not found:
        return CheckResult("schema", ok=True, detail="as the migrations made it")
    more = f", and {len(found) - 1} more: freehold db status --service {name}" if len(found) > 1 else ""
    first = next((each for each in found if not each.lossless), found[0])
    return CheckResult("schema", ok=False, detail=f"{first.subject} {first.problem}{more}", fix=first.fix)


def _preparation(name: str, missing: list[str]) -> CheckResult:
    """What `db upgrade` should have made: a running service may not have the right to make it."""
    detail = f"not made yet: {', '.join(missing)}" if missing else "everything is made that a running service needs"
    fix = f"freehold db upgrade --service {name}" if missing else ""
    return CheckResult("preparation", ok=not missing, detail=detail, fix=fix)


async def _probe(report: Report, subject: str, detail: str, write: Callable[[float], Awaitable[None]]) -> CheckResult:
    """Write a test record within a time limit. If that fails it is a finding, and the examination continues."""
    begun = time.monotonic()
    try:
        await write(_PROBE_SECONDS)
    except FreeholdError as error:
        report.reached = report.reached and not isinstance(error, Unavailable)
        return _bad(subject, error)
    return CheckResult(subject, ok=True, detail=f"{detail} in {(time.monotonic() - begun) * 1000:.0f} ms")


async def _probe_broker(report: Report, broker: Broker, service: str) -> CheckResult:
    return await _probe(report, f"write probe of {service}", "a record was stored", partial(broker.probe, service))


async def _check_broker(subjects: list[_Subject]) -> Report:
    """Examine a broker for the services that use it."""
    users = [each.settings for each in subjects]
    report = Report(f"broker of {', '.join(each.service for each in users)}")
    async with _reporting(report):
        broker = open_broker(users[0].broker, users[0].broker_options)
        try:
            await broker.open()
            report.findings.append(CheckResult("broker", ok=True, detail=broker.features.technology))
            report.findings += await broker.run_checks()
            report.findings += await asyncio.gather(*(_probe_broker(report, broker, each.service) for each in users))
            report.findings += await asyncio.gather(*(_check_log(broker, each) for each in subjects))
            consumers = (_check_consumers(broker, each) for each in subjects if each.service.topics)
            report.findings += await asyncio.gather(*consumers)
            report.findings += [_tokens(each) for each in users]
            _check_windows(report, broker, users)
        finally:
            await broker.close()
    return report


def _check_windows(report: Report, broker: Broker, users: Sequence[Settings]) -> None:
    """Check that each service keeps receipts for longer than the broker may deliver a message again."""
    for each in users:
        try:
            check_windows(each, broker.features)
        except ConfigurationError as error:
            report.findings.append(_bad("dedup window", error))
    if all(finding.ok for finding in report.findings):
        kept = duration(min(each.dedup_window_seconds for each in users))
        again = duration(broker.features.redelivery_horizon_seconds)
        detail = f"receipts are kept for {kept}, messages may be delivered again for {again}"
        report.findings.append(CheckResult("dedup window", ok=True, detail=detail))


async def _check_consumers(broker: Broker, subject: _Subject) -> CheckResult:
    """The state of the service's consumer group."""
    seconds = subject.settings.broker_options.lease_seconds
    at_work = partial(_is_relay_at_work, subject)
    return await check_consumers(broker, subject.service.name, seconds, SystemClock(), at_work)


async def _check_log(broker: Broker, subject: _Subject) -> CheckResult:
    """Whether the broker's log contains everything that the service has seen in it."""
    if subject.context is not None:
        with contextlib.suppress(FreeholdError):  # a finding about the database says why
            return await check_log_mark(broker, subject.context.stores, subject.settings)
    detail = "not known: the database cannot be read"
    return CheckResult(f"log of {subject.service.name}", ok=True, detail=detail)


async def _is_relay_at_work(subject: _Subject) -> bool:
    """Whether a relay of the service runs in some process, as far as the database can be read."""
    if subject.context is not None:
        with contextlib.suppress(FreeholdError):  # a finding about the database says why
            return await is_relay_at_work(subject.context)
    return False


def _tokens(settings: Settings) -> CheckResult:
    """Whether the service signs and accepts consistency tokens over HTTP. Not to do so is no failure."""
    subject = f"consistency tokens of {settings.service}"
    try:
        signer = TokenSigner.of(settings.token_secret)
    except ConfigurationError as error:
        return _bad(subject, error)
    detail = "signed" if signer else "not used over HTTP: there is no token_secret"
    return CheckResult(subject, ok=True, detail=detail)


def _bad(subject: str, error: FreeholdError) -> CheckResult:
    return CheckResult(subject, ok=False, detail=error.message, fix=error.hint)

"""A broker that loses everything three times in a row, without a resend in between.

The broker is emptied without the shop's fault, and the loss is repaired as an operator does: by the command `freehold`.
Imports the trial, the shop's client and its services.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from tests.heal.operator import freehold, resend
from tests.heal.readiness import readiness
from tests.heal.trial import Scenario, Trial, TrialPlan, begin, end, patiently, until

from freehold.errors import FreeholdError
from freehold_shop.assembly import SERVICES
from freehold_shop.servers.nats import empty_store
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Profile
from freehold_shop.verify.readers import open_reader

__all__ = ["EMPTIED_THREE_TIMES"]

_TIMES: Final = 3
_CONTINUE_SECONDS: Final = 10.0
"""How much longer than without a loss it may take until every consumer handles new messages."""
_LOST: Final = "the broker has lost what it had confirmed"
_SENT_SQL: Final = "SELECT count(*) FROM freehold_outbox_sent"
_LOG_SQL: Final = "SELECT identity FROM freehold_outbox_log"
_RECEIPTS_SQL: Final = "SELECT receipt_key FROM freehold_inbox ORDER BY received_at DESC LIMIT 500"
_CONSUMERS: Final = tuple(name for name, each in SERVICES.items() if each.service.topics - {"reference.events"})
"""The services that read events of orders. Users reads only countries, of which there are no new events here."""


async def _happens(shop: Shop, trial: Trial, plan: TrialPlan) -> None:
    usual = await _consumers_continue(shop, plan)
    took = []
    for _ in range(_TIMES):
        losers = await _publishers(shop, plan)
        logs = await patiently(lambda: _logs(shop), plan)
        await _empty(shop, plan)
        took.append(await _consumers_continue(shop, plan))
        await _is_reported(shop, plan, losers, logs, trial)
    resent = await resend(shop)
    await until(lambda: _none_reports(shop), plan, "readiness reports no loss any more")
    if max(took) > usual + _CONTINUE_SECONDS:
        trial.problems.append(f"consumers continued after {max(took):.1f} s, {usual:.1f} s are usual")
    trial.note = f"consumers continued after {_seconds(took)} s ({usual:.1f} s without a loss); {resent}"


def _seconds(took: Sequence[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in took)


async def _empty(shop: Shop, plan: TrialPlan) -> None:
    """Kill NATS, remove its store and start it; or delete the embedded broker's file, which all processes have open."""
    match shop.profile:
        case Profile.SERVERS:
            await begin(shop, "broker-down", plan)
            empty_store(shop.state_directory / "nats")
            await end(shop, "broker-down", plan)
        case Profile.EMBEDDED:
            file = shop.state_directory / "data" / "broker.db"
            for suffix in ("", "-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)


async def _publishers(shop: Shop, plan: TrialPlan) -> frozenset[str]:
    """The services that will lose messages; waits until orders is one of them."""

    async def orders_has_published() -> bool:
        return "orders" in await patiently(lambda: _with_sent(shop), plan)

    await until(orders_has_published, plan, "the broker has confirmed messages of orders")
    return await patiently(lambda: _with_sent(shop), plan)


def _with_sent(shop: Shop) -> frozenset[str]:
    found = []
    for service, url in shop.databases.items():
        with open_reader(url) as reader:
            found += [service for (count,) in reader.rows(_SENT_SQL) if count]
    return frozenset(found)


def _logs(shop: Shop) -> Mapping[str, str]:
    """The identity of the broker's log in each service's database."""
    found: dict[str, str] = {}
    for service, url in shop.databases.items():
        with open_reader(url) as reader:
            for (identity,) in reader.rows(_LOG_SQL):
                found[service] = str(identity)
    return found


async def _consumers_continue(shop: Shop, plan: TrialPlan) -> float:
    """Wait until every consumer has handled a message that was created after now; returns the seconds."""
    now_ms = time.time_ns() // 1_000_000

    async def all_have() -> bool:
        newest = await patiently(lambda: {name: _newest_ms(shop.databases[name]) for name in _CONSUMERS}, plan)
        return all(created_ms > now_ms for created_ms in newest.values())

    return await until(all_have, plan, "every consumer handles new messages")


def _newest_ms(database: str) -> int:
    """When the newest handled message was created: receipts of events have UUIDv7 keys, which begin with a time."""
    with open_reader(database) as reader:
        ids = [_as_id(key) for (key,) in reader.rows(_RECEIPTS_SQL)]
    return max((each.int >> 80 for each in ids if each is not None and each.version == 7), default=0)


def _as_id(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None


async def _is_reported(
    shop: Shop, plan: TrialPlan, losers: frozenset[str], logs: Mapping[str, str], trial: Trial
) -> None:
    """Each service that lost messages has noted the loss and reports it in readiness, and `freehold doctor` too."""

    async def all_noted() -> bool:
        now = await patiently(lambda: _logs(shop), plan)
        return all(now.get(name) != logs.get(name) for name in losers)

    async def all_report() -> bool:
        reports = await readiness(shop)
        trial.seen |= {name: each.notices for name, each in reports.items() if _LOST in each.notices}
        return all(_LOST in reports[name].notices for name in losers)

    await until(all_noted, plan, f"{', '.join(sorted(losers))} have noted the loss")
    await until(all_report, plan, f"readiness of {', '.join(sorted(losers))} reports the loss")
    code, document = await freehold(shop, "doctor", "--json")
    found = {report["place"]: _finding(report) for report in document["reports"]}
    silent = {name for name in losers if _LOST not in found.get(f"database of {name}", "")}
    if code == 0 or silent:
        raise FreeholdError(f"doctor ends with {code} and does not report the loss of {', '.join(sorted(silent))}")


def _finding(report: Mapping[str, Any]) -> str:
    return " ".join(str(each["detail"]) for each in report["findings"] if not each["ok"])


async def _none_reports(shop: Shop) -> bool:
    return not any(_LOST in each.notices for each in (await readiness(shop)).values())


EMPTIED_THREE_TIMES: Final = Scenario("broker-emptied-three-times", _happens)

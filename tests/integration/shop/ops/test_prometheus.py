"""A real Prometheus scrapes the shop: every metric is there, right against the databases, and in bounded number."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from tests.integration.shop.ops.conftest import run_shop
from tests.integration.shop.ops.customers import ended, place, rows, until

from freehold.metrics import semantic_name
from freehold.runtime.patterns import PATTERNS
from freehold.telemetry import declared_families
from freehold_shop.servers import RunningServer, ServerUnavailable, find_prometheus, start_prometheus
from freehold_shop.supervisor.client import Shop
from freehold_shop.supervisor.plan import Plan

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
_SERIES_MAX: Final = 3000
"""For one scrape of a service of the shop. Most are the buckets of statements."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop of its own: its counters begin at 0 with its databases."""
    try:
        find_prometheus()
    except ServerUnavailable as error:
        pytest.skip(f"left out: {error}")
    yield from run_shop(Plan(tmp_path_factory.mktemp("measured")))


@pytest.fixture(scope="module")
def prometheus(measured: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    targets = [urlsplit(measured.urls[service]).netloc for service in measured.databases]
    jobs = {"/metrics": targets, "/metrics/database": targets}
    with start_prometheus(tmp_path_factory.mktemp("prometheus"), jobs, interval_seconds=5) as server:
        yield server


def _ask(server: RunningServer, query: str) -> list[tuple[Mapping[str, str], float]]:
    """The result of a query: labels and value of each series."""
    url = f"{server.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return [(each["metric"], float(each["value"][1])) for each in found["data"]["result"]]


def _by_service(server: RunningServer, query: str) -> dict[str, float]:
    return {labels["service"]: value for labels, value in _ask(server, query)}


async def _sold(shop: Shop, orders: int) -> None:
    assert await ended(shop, [await place(shop) for _ in range(orders)]) == {"confirmed"}


async def test_every_metric_is_there_and_right_against_the_databases(measured: Shop, prometheus: RunningServer) -> None:
    await _sold(measured, 5)

    async def all_up() -> bool:
        up = _ask(prometheus, "up")
        return len(up) == 2 * len(measured.databases) and all(value == 1.0 for _, value in up)

    await until(all_up, "every target was scraped")

    async def quiet() -> bool:
        lags = ("freehold_outbox_lag", "freehold_consumer_lag", "freehold_projection_lag", "freehold_deferred")
        return all(value == 0 for lag in lags for _, value in _ask(prometheus, lag))

    await until(quiet, "nothing waits")
    for service in measured.databases:
        handled = rows(measured, service, "SELECT count(*) FROM freehold_inbox")[0][0]

        async def counted(service: str = service, handled: object = handled) -> bool:
            query = f'sum(freehold_message_delivery_seconds_count{{service="{service}"}})'
            return (_ask(prometheus, query) or [({}, 0.0)])[0][1] == handled

        await until(counted, f"what {service} handled is counted: {handled}")
    head = _by_service(prometheus, "freehold_projection_head")
    assert "orders" in head or "overview" in head
    for service, position in head.items():
        found = rows(measured, service, "SELECT max(position) FROM freehold_event")[0][0]
        assert position == found, service
    assert set(_by_service(prometheus, "sum by (service) (freehold_dead_letters_open)").values()) == {0.0}
    assert {value for _, value in _ask(prometheus, "freehold_reading_up")} == {1.0}
    _every_family_is_there(prometheus)


def _every_family_is_there(prometheus: RunningServer) -> None:
    families = [family for all_of_them in declared_families(PATTERNS).values() for family in all_of_them]
    missing = set()
    for name in {name for family in families for name in (family.name, semantic_name(family)) if name}:
        suffixes = ("", "_count")
        if not any(_ask(prometheus, f"{name}{suffix}") for suffix in suffixes):
            missing.add(name)
    # Replicas of the shop are compared by operators; the embedded broker knows no age of what nobody fetched.
    assert missing <= {"freehold_replica_drift", "freehold_replica_compared_timestamp_seconds"}


async def test_the_number_of_series_is_bounded(measured: Shop, prometheus: RunningServer) -> None:
    await _sold(measured, 5)
    own = 'count({__name__=~"(freehold|database|db|messaging)_.+"})'
    before = _ask(prometheus, own)[0][1]
    await _sold(measured, 30)
    assert _ask(prometheus, own)[0][1] <= before * 1.1
    assert all(value < _SERIES_MAX for _, value in _ask(prometheus, "max by (job, instance) (scrape_samples_scraped)"))

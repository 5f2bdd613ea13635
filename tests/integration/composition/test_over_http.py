"""Composing over real sockets: services that are slow, fail, hang, refuse, or cut the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.integration.composition.servers import Downstream, downstream
from tests.integration.composition.timing import running_clock

from freehold.clock import Clock
from freehold.composition import (
    BreakerPhase,
    BreakerPolicy,
    Composer,
    Composition,
    HttpFetch,
    InvalidRequest,
    Missing,
    Read,
    Request,
    batch,
)
from freehold.errors import ConfigurationError, Unavailable

Document = dict[str, Any]


class Row(msgspec.Struct, frozen=True):
    id: str


@pytest.fixture
async def services() -> AsyncIterator[Downstream]:
    async with downstream() as made:
        yield made


@pytest.fixture
async def fetch(services: Downstream) -> AsyncIterator[HttpFetch]:
    async with HttpFetch(services.urls, response_bytes_max=10_000) as opened:
        yield opened


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    async with running_clock() as made:
        yield made


def view(**paths: tuple[str, str]) -> Composition[str]:
    """A part for each path: its service, and where it is."""
    made: Composition[str] = Composition("view", budget_seconds=2.5)
    for name, (service, path) in paths.items():
        made.part(name, Read(service, path, Document, limit_seconds=1.5), by=lambda found: found.given)
    return made


async def test_what_can_be_had_is_there_and_the_rest_is_named_with_its_reason(
    services: Downstream, fetch: HttpFetch, clock: Clock
) -> None:
    composition = view(
        well=("service", "/well/{key}"),
        slow=("service", "/slow/{key}?seconds=0.2"),
        flaky=("flaky", "/flaky/{key}"),
        failing=("failing", "/failing/{key}"),
        hanging=("hanging", "/hanging/{key}"),
        cutting=("cutting", "/cutting/{key}"),
        large=("large", "/large/{key}"),
        redirecting=("service", "/redirecting/{key}"),
        gone=("gone", "/{key}"),
    )
    begun = clock.monotonic()
    found = await Composer(fetch, clock=clock).compose(composition, "k/1")
    assert clock.monotonic() - begun < 2.5
    assert {each.part: each.reason for each in found.missing} == {
        "failing": "unavailable",
        "hanging": "timeout",
        "cutting": "unavailable",
        "large": "unavailable",
        "redirecting": "refused",
        "gone": "unavailable",
    }
    parts = {part.name: part for part in composition.parts}
    assert found[parts["well"]] == {"path": "/well/k%2F1"}
    assert (services.calls["failing"], services.calls["flaky"], services.calls["hanging"]) == (2, 2, 1)
    async with asyncio.timeout(60):
        await services.given_up.wait()
    assert services.under_way == 0


async def test_the_whole_takes_as_long_as_its_slowest_part(
    services: Downstream, fetch: HttpFetch, clock: Clock
) -> None:
    composition = view(**{f"p{number}": ("service", "/slow/{key}?seconds=0.4") for number in range(6)})
    begun = clock.monotonic()
    found = await Composer(fetch, clock=clock).compose(composition, "k")
    took = clock.monotonic() - begun
    assert found.missing == ()
    assert took < 1.2, f"six parts of 0.4 s took {took:.2f} s"
    assert 0 < services.budgets_ms["slow"] <= 1500


async def test_a_hundred_keys_are_one_call(services: Downstream, fetch: HttpFetch, clock: Clock) -> None:
    composition: Composition[int] = Composition("many", budget_seconds=5.0)
    rows = composition.part(
        "rows",
        batch("service", "/query", Row, field="ids", key=lambda row: row.id),
        by=lambda found: [str(number) for number in range(found.given)],
    )
    found = await Composer(fetch, clock=clock).compose(composition, 100)
    assert len(found[rows] or ()) == 100
    assert services.calls["query"] == 1


async def test_a_service_that_fails_is_spared_and_taken_back(
    services: Downstream, fetch: HttpFetch, clock: Clock
) -> None:
    composer = Composer(fetch, clock=clock, breaker=BreakerPolicy(calls_min=4, open_seconds=0.5))
    failing, well = view(p=("service", "/failing/{key}")), view(p=("service", "/well/{key}"))
    reasons = [(await composer.compose(failing, "k")).missing[0].reason for _ in range(6)]
    assert reasons == ["unavailable"] * 2 + ["circuit-open"] * 4
    assert services.calls["failing"] == 4
    assert composer.breakers()["service"].phase is BreakerPhase.OPEN
    async with asyncio.timeout(60):
        while (await composer.compose(well, "k")).missing:  # noqa: ASYNC110 - the breaker tells nobody
            await asyncio.sleep(0.02)
    assert composer.breakers()["service"].phase is BreakerPhase.CLOSED


async def test_a_key_that_looks_like_a_path_stays_a_key(services: Downstream, fetch: HttpFetch, clock: Clock) -> None:
    composition = view(p=("service", "/well/{key}/more"))
    found = await Composer(fetch, clock=clock).compose(composition, "..")
    assert found[composition.parts[0]] == {"path": "/well/../more"}


async def test_headers_go_and_come_in_lower_case(services: Downstream, fetch: HttpFetch) -> None:
    reply = await fetch(Request("service", "GET", "/well"))
    assert (reply.status, reply.headers["freehold-consistency"]) == (200, "t1")


async def test_a_service_without_an_address_is_an_error_of_the_program(fetch: HttpFetch) -> None:
    with pytest.raises(ConfigurationError, match="nobody"):
        await Composer(fetch).compose(view(p=("nobody", "/{key}")), "k")


async def test_closed_it_opens_again_when_it_is_used(services: Downstream, fetch: HttpFetch) -> None:
    await fetch.close()
    assert (await fetch(Request("service", "GET", "/well"))).status == 200


async def test_a_server_that_is_gone_is_missing_and_not_an_error(clock: Clock) -> None:
    composition = view(p=("service", "/well/{key}"))
    async with downstream() as other:
        own = HttpFetch(other.urls)
        composer = Composer(own, clock=clock)
        assert (await composer.compose(composition, "k")).missing == ()
    async with own:
        assert (await composer.compose(composition, "k")).missing == (Missing("p", "service", "unavailable"),)
        with pytest.raises(Unavailable):
            await own(Request("service", "GET", "/well"))


@pytest.mark.parametrize(
    "wanted",
    [
        Request("service", "GET", "well"),
        Request("service", "GET", "@elsewhere/well"),
        Request("service", "GET", "//elsewhere/well"),
        Request("service", "GET", "/well\r\nx: y"),
        Request("service", "GET", "/well\x00"),
        Request("service", "GET", "/w ell"),
        Request("service", "GET", "/well#part"),
        Request("service", "GET", "/\ud800"),
        Request("service", "GET", "/well", {"x": "a\r\nb: c"}),
        Request("service", "GET", "/well", {"x": "\ud800"}),
    ],
)
async def test_a_request_that_cannot_be_sent_is_told_from_a_service_that_fails(
    fetch: HttpFetch, services: Downstream, wanted: Request, clock: Clock
) -> None:
    with pytest.raises(InvalidRequest):
        await fetch(wanted)
    assert not services.calls


async def test_an_answer_too_large_opens_no_breaker(services: Downstream, fetch: HttpFetch, clock: Clock) -> None:
    composer = Composer(fetch, clock=clock, breaker=BreakerPolicy(calls_min=2))
    for _ in range(3):
        found = await composer.compose(view(p=("large", "/large/{key}")), "k")
        assert [each.reason for each in found.missing] == ["unavailable"]
    shown = composer.breakers()["large"]
    assert (shown.phase, shown.failures) == (BreakerPhase.CLOSED, 0)


@pytest.mark.parametrize("url", ["orders:8000", "ftp://orders", "http://", "http://[orders", ""])
def test_an_address_that_is_none_is_found_when_it_is_given(url: str) -> None:
    with pytest.raises(ConfigurationError):
        HttpFetch({"orders": url})

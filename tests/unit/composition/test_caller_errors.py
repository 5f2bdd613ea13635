"""What a caller does wrong counts against no service: not in its breaker, not in its retries, not for other callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.unit.composition.played import Services, always, gone, hang, reply, rows_by
from tests.unit.composition.timing import MovedClock, settle

from freehold.composition import (
    BreakerPhase,
    BreakerPolicy,
    Budget,
    CallFailed,
    Composer,
    Composition,
    CompositionFailed,
    InvalidRequest,
    Read,
    Reason,
    Reply,
    Request,
    UnusableReply,
    batch,
)
from freehold.composition.client import RETRY, Client
from freehold.errors import NotFound
from freehold.policy import Retry

POLICY = BreakerPolicy(window_seconds=10, calls_min=3, open_seconds=5, slow_seconds=0.5)
Answer = Callable[[Request], Awaitable[Reply]]


def raising(error: Exception, clock: MovedClock | None = None, seconds: float = 0.0) -> Answer:
    async def answer(_request: Request) -> Reply:
        if clock is not None:
            await clock.sleep(seconds)
        raise error

    return answer


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 412, 413, 414, 415, 422, 431, 451])
async def test_a_refusal_opens_no_breaker_and_is_not_tried_again(status: int) -> None:
    clock = MovedClock()
    services = Services({"s": always({}, status)})
    calling = Client(services, clock, POLICY, RETRY)
    for _ in range(5):
        assert (await calling.call(Request("s", "GET", "/"), Budget(1, clock))).status == status
    shown = calling.breakers()["s"]
    assert (shown.phase, shown.calls, shown.failures, len(services.requests)) == (BreakerPhase.CLOSED, 5, 0, 5)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidRequest("a path is none"), Reason.REFUSED),
        (UnusableReply("too large"), Reason.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("seconds", [0.0, 0.8])
async def test_what_cannot_be_asked_or_taken_opens_no_breaker(error: Exception, reason: Reason, seconds: float) -> None:
    clock = MovedClock()
    services = Services({"s": raising(error, clock, seconds)})
    calling = Client(services, clock, POLICY, RETRY)
    for _ in range(5):
        task = asyncio.create_task(calling.call(Request("s", "GET", "/"), Budget(9, clock)))
        await clock.advance(seconds)
        with pytest.raises(CallFailed) as failed:
            await task
        assert failed.value.reason is reason
    shown = calling.breakers()["s"]
    assert (shown.phase, shown.failures, len(services.requests)) == (BreakerPhase.CLOSED, 0, 5)


async def test_an_error_of_ones_own_code_opens_no_breaker_however_long_it_took() -> None:
    clock = MovedClock()
    services = Services({"s": raising(LookupError("a bug"), clock, 0.8)})
    calling = Client(services, clock, POLICY, RETRY)
    for _ in range(5):
        task = asyncio.create_task(calling.call(Request("s", "GET", "/"), Budget(9, clock)))
        await clock.advance(0.8)
        with pytest.raises(LookupError):
            await task
    assert calling.breakers()["s"].failures == 0


async def test_a_probe_that_cannot_be_sent_leaves_the_next_one_to_find_out() -> None:
    clock = MovedClock()
    services = Services({"s": gone})
    calling = Client(services, clock, POLICY, Retry(attempts=1))
    for _ in range(3):
        with pytest.raises(CallFailed):
            await calling.call(Request("s", "GET", "/"), Budget(1, clock))
    await clock.advance(5)
    services.answers["s"] = raising(InvalidRequest("a path is none"))
    with pytest.raises(CallFailed):
        await calling.call(Request("s", "GET", "/"), Budget(1, clock))
    services.answers["s"] = always({})
    assert (await calling.call(Request("s", "GET", "/"), Budget(1, clock))).status == 200
    assert calling.breakers()["s"].phase is BreakerPhase.CLOSED


BAD_KEYS = ["", "\x00", "a\x00b", "a\nb", "\x7f", "\x9f", "\ud800", "ok\udfff"]


async def _poisoned(request: Request) -> Reply:
    """A service whose database knows no NUL: it fails."""
    return reply({}, 500 if "%00" in request.path or b"\\u0000" in (request.body or b"") else 200)


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_nothing_can_have_is_asked_for_nowhere(key: str) -> None:
    clock = MovedClock()
    services = Services({"s": _poisoned})
    composer = Composer(services, breaker=POLICY, clock=clock)
    view: Composition[str] = Composition("view", budget_seconds=1)
    part = view.part("p", Read("s", "/orders/{key}", dict), by=lambda found: found.given)
    must: Composition[str] = Composition("must", budget_seconds=1)
    must.part("p", Read("s", "/orders/{key}", dict), by=lambda found: found.given, required=True, must_exist=True)
    for _ in range(5):
        found = await composer.compose(view, key)
        assert (found[part], found.missing) == (None, ())
        with pytest.raises(NotFound):
            await composer.compose(must, key)
    assert services.requests == []
    assert (await composer.compose(view, "well"))[part] == {}


async def test_a_key_that_nothing_can_have_leaves_the_others_of_its_batch() -> None:
    services = Services({"s": rows_by("ids", "id")})
    view: Composition[list[str]] = Composition("view", budget_seconds=1)
    rows = view.part("p", batch("s", "/q", dict, field="ids", key=lambda row: row["id"]), by=lambda found: found.given)
    found = (await Composer(services, clock=MovedClock()).compose(view, ["a", *BAD_KEYS, "b"]))[rows]
    assert found is not None
    assert list(found) == ["a", *BAD_KEYS, "b"]
    assert [key for key, row in found.items() if row is not None] == ["a", "b"]
    assert msgspec.json.decode(services.requests[0].body or b"") == {"ids": ["a", "b"]}


async def test_a_key_that_a_service_refuses_fails_nobody_else_who_shares_the_call() -> None:
    clock = MovedClock()

    async def answer(request: Request) -> Reply:
        keys = msgspec.json.decode(request.body or b"{}")["ids"]
        return reply({}, 422) if "odd" in keys else reply([{"id": key} for key in keys])

    services = Services({"s": answer})
    composer = Composer(services, breaker=POLICY, clock=clock)
    view: Composition[str] = Composition("view", budget_seconds=1)
    source = batch("s", "/q", dict, field="ids", key=lambda row: row["id"], window_seconds=0.01)
    rows = view.part("p", source, by=lambda found: [found.given])
    tasks = [asyncio.create_task(composer.compose(view, key)) for key in ("a", "odd", "b")]
    await settle()
    await clock.advance(0.01)
    a, odd, b = await asyncio.gather(*tasks)
    assert (a[rows], b[rows]) == ({"a": {"id": "a"}}, {"b": {"id": "b"}})
    assert [each.reason for each in odd.missing] == ["refused"]
    assert composer.breakers()["s"].failures == 0


async def test_a_required_part_that_is_refused_says_so_and_with_which_status() -> None:
    composer = Composer(Services({"s": always({}, 422), "t": hang}), clock=MovedClock())
    view: Composition[str] = Composition("view", budget_seconds=1)
    view.part("p", Read("s", "/{key}", dict), by=lambda found: found.given, required=True)
    with pytest.raises(CompositionFailed) as failed:
        await composer.compose(view, "k")
    assert (failed.value.missing.reason, failed.value.status) == ("refused", 422)
    assert "later" not in failed.value.hint

"""Composing: in parallel, as soon as possible, within one budget, and what is missing by name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.composition.played import Services, always, gone, hang, reply, rows_by
from tests.unit.composition.timing import MovedClock, settle

from freehold.composition import (
    BUDGET_HEADER,
    Budget,
    Composer,
    Composition,
    CompositionFailed,
    Missing,
    Read,
    Reply,
    Request,
    batch,
)
from freehold.errors import DeclarationError, NotFound
from freehold.policy import Retry

ONCE = Retry(attempts=1)


class Row(msgspec.Struct, frozen=True):
    id: str
    of: str = ""


users = Read("users", "/users/{key}", dict[str, Any])
orders = Read("orders", "/orders?customer={key}", list[str])
payments = batch("payments", "/payments/query", Row, field="ids", key=lambda row: row.id)

view: Composition[str] = Composition("view", budget_seconds=2.0)
profile = view.part("profile", users, by=lambda found: found.given)
ordered = view.part("orders", orders, by=lambda found: found.given)
paid = view.part("payments", payments, after=ordered, by=lambda found: found[ordered])


def composer(services: Services, clock: MovedClock | None = None, **options: Any) -> Composer:
    return Composer(services, clock=clock or MovedClock(), **{"retry": ONCE, **options})


async def test_parts_are_joined_and_a_dependent_one_is_asked_in_one_call() -> None:
    services = Services(
        {"users": always({"name": "N"}), "orders": always(["a", "xb", "a", "c"]), "payments": rows_by("ids", "id")}
    )
    found = await composer(services).compose(view, "c 1/2")
    assert found[profile] == {"name": "N"}
    assert found[paid] == {"a": Row("a", "payments"), "xb": None, "c": Row("c", "payments")}
    assert (found.missing, found.stale) == ((), ())
    assert [request.path for request in services.asked("users")] == ["/users/c%201%2F2"]
    assert [request.body for request in services.asked("payments")] == [b'{"ids":["a","xb","c"]}']


async def test_parts_without_needs_are_asked_at_once_and_others_as_soon_as_they_can_be() -> None:
    clock = MovedClock()
    services = Services({"users": hang, "orders": always(["a"]), "payments": rows_by("ids", "id")})
    composing = asyncio.create_task(composer(services, clock).compose(view, "c1"))
    await settle()
    assert [request.service for request in services.requests] == ["users", "orders", "payments"]
    await clock.advance(1.0)
    assert (await composing).missing == (Missing("profile", "users", "timeout"),)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (hang, "timeout"),
        (gone, "unavailable"),
        (always({}, 503), "unavailable"),
        (always({}, 403), "refused"),
        (always({"no": "list"}), "refused"),
    ],
)
async def test_what_is_missing_is_named_with_its_reason_and_takes_along_what_needs_it(answer: Any, reason: str) -> None:
    clock = MovedClock()
    services = Services({"users": always({}), "orders": answer, "payments": rows_by("ids", "id")})
    composing = asyncio.create_task(composer(services, clock).compose(view, "c1"))
    await clock.advance(1.0)
    found = await composing
    assert found.missing == (
        Missing("orders", "orders", reason),
        Missing("payments", "payments", "depends-on orders"),
    )
    assert (found[profile], found[ordered], found[paid]) == ({}, None, None)
    assert services.under_way == 0


async def test_what_does_not_exist_is_not_missing_and_nobody_is_asked_for_what_needs_it() -> None:
    services = Services({"users": always({}, 404), "orders": always({}, 404), "payments": gone})
    found = await composer(services).compose(view, "c1")
    assert (found[profile], found[ordered], found[paid], found.missing) == (None, None, None, ())
    assert not services.asked("payments")


async def test_each_call_gets_its_share_of_the_budget_and_is_told() -> None:
    clock = MovedClock()

    async def slow(_request: Request) -> Reply:
        await clock.sleep(0.9)
        return reply(["a"])

    services = Services({"users": always({}), "orders": slow, "payments": hang})
    composing = asyncio.create_task(composer(services, clock).compose(view, "c1", budget=Budget(1.5, clock)))
    await clock.advance(1.49)
    assert not composing.done()
    await clock.advance(0.01)
    assert (await composing).missing == (Missing("payments", "payments", "budget"),)
    told = {request.service: int(request.headers[BUDGET_HEADER]) for request in services.requests}
    assert told == {"users": 1000, "orders": 1000, "payments": 600}


async def test_without_any_time_nobody_is_asked() -> None:
    clock = MovedClock()
    services = Services({})
    found = await composer(services, clock).compose(view, "c1", budget=Budget(0.0, clock))
    assert [missing.reason for missing in found.missing] == ["budget", "budget", "depends-on orders"]
    assert not services.requests


async def test_a_source_that_takes_its_time_without_calling_is_held_to_the_budget() -> None:
    class Sleepy:
        service = "sleepy"

        async def read(self, _ask: object, _key: str) -> str | None:
            await asyncio.Event().wait()
            return None

    alone: Composition[str] = Composition("alone", budget_seconds=1.0)
    alone.part("sleep", Sleepy(), by=lambda found: found.given)
    clock = MovedClock()
    composing = asyncio.create_task(composer(Services({}), clock).compose(alone, "x"))
    await clock.advance(1.0)
    assert (await composing).missing == (Missing("sleep", "sleepy", "budget"),)


def _strict() -> Composition[str]:
    strict: Composition[str] = Composition("strict", budget_seconds=2.0)
    strict.part("profile", users, by=lambda found: found.given, required=True, must_exist=True)
    strict.part("orders", orders, by=lambda found: found.given)
    return strict


async def test_a_required_part_that_is_missing_fails_the_whole_and_ends_the_rest() -> None:
    services = Services({"users": gone, "orders": hang})
    with pytest.raises(CompositionFailed) as failed:
        await composer(services).compose(_strict(), "c1")
    assert failed.value.missing == Missing("profile", "users", "unavailable")
    assert (services.under_way, services.cancelled) == (0, 1)


async def test_where_a_part_must_exist_the_whole_does_not_without_it() -> None:
    services = Services({"users": always({}, 404), "orders": hang})
    with pytest.raises(NotFound):
        await composer(services).compose(_strict(), "c1")
    assert (services.under_way, services.cancelled) == (0, 1)


async def test_an_error_of_the_program_is_no_missing_part() -> None:
    broken: Composition[str] = Composition("broken", budget_seconds=2.0)
    broken.part("orders", orders, by=lambda found: found.given)
    broken.part("profile", users, by=lambda found: str(1 // len(found.given)))
    services = Services({"orders": hang})
    with pytest.raises(ZeroDivisionError):
        await composer(services).compose(broken, "")
    assert services.under_way == 0


async def test_cancelled_it_leaves_no_call_behind() -> None:
    services = Services({"users": hang, "orders": hang})
    before = asyncio.all_tasks()
    composing = asyncio.create_task(composer(services).compose(view, "c1"))
    await settle()
    assert services.under_way == 2
    composing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await composing
    assert (services.under_way, services.cancelled) == (0, 2)
    assert asyncio.all_tasks() == before


async def test_headers_go_along_and_those_of_the_replies_are_merged() -> None:
    services = Services(
        {
            "users": always({}, freehold_consistency="u1"),
            "orders": always(["a"], freehold_consistency="o1"),
            "payments": always([], freehold_consistency="p1"),
        }
    )

    def merged(replies: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        return {"freehold-consistency": " ".join(sorted(each["freehold-consistency"] for each in replies))}

    found = await composer(services, merge_headers=merged).compose(view, "c1", headers={"freehold-consistency": "t"})
    assert {request.headers["freehold-consistency"] for request in services.requests} == {"t"}
    assert found.headers == {"freehold-consistency": "o1 p1 u1"}


def test_what_cannot_be_meant_is_refused_where_it_is_declared() -> None:
    other: Composition[str] = Composition("other", budget_seconds=1.0)
    strange = other.part("profile", users, by=lambda found: found.given)
    with pytest.raises(DeclarationError, match="already"):
        other.part("profile", users, by=lambda found: found.given)
    with pytest.raises(DeclarationError, match="not a part of 'view'"):
        view.part("more", users, by=lambda found: found.given, after=strange)
    with pytest.raises(DeclarationError, match="not a part of 'view'"):
        view.part("more", users, by=lambda found: found.given, after=["profile"])  # type: ignore[list-item] # the mistake
    with pytest.raises(DeclarationError, match="not a name"):
        view.part("More", users, by=lambda found: found.given)
    with pytest.raises(DeclarationError, match="no time"):
        Composition("late", budget_seconds=0)
    for path in ("/users", "/users/{id}", "/users/{key}/{key}"):
        with pytest.raises(DeclarationError, match="key"):
            Read("users", path, dict)
    with pytest.raises(DeclarationError, match="no time limit"):
        Read("users", "/users/{key}", dict, limit_seconds=0)
    with pytest.raises(DeclarationError, match="size_max is at least 1"):
        batch("payments", "/query", Row, field="ids", key=lambda row: row.id, size_max=0)
    with pytest.raises(DeclarationError, match="two attempts at most"):
        composer(Services({}), retry=Retry(attempts=3))


async def test_a_key_is_made_from_declared_parts_only() -> None:
    sly: Composition[str] = Composition("sly", budget_seconds=1.0)
    first = sly.part("first", users, by=lambda found: found.given)
    sly.part("second", orders, by=lambda found: str(found[first]))
    services = Services({"users": always({}), "orders": always([])})
    with pytest.raises(DeclarationError, match="after=first"):
        await composer(services).compose(sly, "c1")


async def test_what_is_left_out_is_told_once_for_each_service(caplog: pytest.LogCaptureFixture) -> None:
    """While it lasts one line a minute, however many answers are given without it; a service that refuses is well."""
    services = Services(
        {"users": gone, "orders": always({"code": "unknown"}, status=422), "payments": rows_by("x", "y")}
    )
    composing = composer(services)
    with caplog.at_level(logging.WARNING, "freehold.outages"):
        for _ in range(5):
            await composing.compose(view, "c")
        told = "compositions: the service 'users' did not answer: unavailable, it cannot be reached; responses are"
        assert [each.getMessage().startswith(told) for each in caplog.records] == [True]

"""What the sources do over a composition: reference data behind a cache, batches that requests share, keys in paths."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.composition.played import Services, always, gone, hang, rows_by
from tests.unit.composition.timing import MovedClock, settle

from freehold.composition import (
    CachePolicy,
    Composer,
    Composition,
    Missing,
    Read,
    Reference,
    Reply,
    Request,
    batch,
    grouped_batch,
)
from freehold.policy import Retry

POLICY = CachePolicy(ttl_seconds=10, revalidate_seconds=0, error_seconds=60, retry_seconds=0, load_seconds=0.5)
Document = dict[str, Any]


class Row(msgspec.Struct, frozen=True):
    id: str


reference: Composition[str] = Composition("reference", budget_seconds=2.0)
country = reference.part(
    "country", Reference(Read("reference", "/countries/{key}", Document), POLICY), by=lambda found: found.given
)

batches: Composition[Sequence[str]] = Composition("batches", budget_seconds=2.0)
_rows = batch("rows", "/query", Row, field="ids", key=lambda row: row.id, size_max=2)
one = batches.part("one", _rows, by=lambda found: found.given[:2])
two = batches.part("two", _rows, by=lambda found: found.given)

shared: Composition[str] = Composition("shared", budget_seconds=2.0)
row = shared.part(
    "row",
    batch("rows", "/query", Row, field="ids", key=lambda row: row.id, window_seconds=0.01),
    by=lambda found: [found.given],
)


def composer(services: Services, clock: MovedClock, **options: Any) -> Composer:
    return Composer(services, clock=clock, retry=Retry(attempts=1), **options)


async def test_reference_data_is_asked_for_once_and_stands_in_marked() -> None:
    clock = MovedClock()
    services = Services({"reference": always({"code": "GB"})})
    composing = composer(services, clock)
    for _ in range(5):
        found = await composing.compose(reference, "GB", headers={"authorization": "secret"})
        assert (found[country], found.stale) == ({"code": "GB"}, ())
    assert len(services.requests) == 1
    assert "authorization" not in services.requests[0].headers, "what all share is asked for in nobody's name"
    services.answers["reference"] = gone
    await clock.advance(11)
    found = await composing.compose(reference, "GB")
    assert (found[country], found.stale, found.missing) == ({"code": "GB"}, ("country",), ())
    found = await composing.compose(reference, "FR")
    assert found.missing == (Missing("country", "reference", "unavailable"),)
    services.answers["reference"] = always({}, 404)
    found = await composing.compose(reference, "XX")
    assert (found[country], found.missing) == (None, ())
    await composing.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"id": 1}', b'{"id": "\xff"}', b'{"id": "a", "more": ' + b"[" * 9_999 + b"]" * 9_999 + b"}"],
    ids=["empty", "no-json", "another-type", "no-utf-8", "too-deep"],
)
async def test_an_answer_that_cannot_be_read_is_missing_and_takes_nothing_along(body: bytes) -> None:
    async def fetch(request: Request) -> Reply:
        return Reply(200, body, request.headers)

    whole: Composition[str] = Composition("whole", budget_seconds=2.0)
    unreadable = whole.part("unreadable", Read("rows", "/rows/{key}", Row), by=lambda found: found.given)
    found = await Composer(fetch, retry=Retry(attempts=1)).compose(whole, "a")
    assert (found[unreadable], found.missing) == (None, (Missing("unreadable", "rows", "refused"),))


async def test_reference_data_that_hangs_is_missing_in_time() -> None:
    clock = MovedClock()
    composing = asyncio.create_task(composer(Services({"reference": hang}), clock).compose(reference, "GB"))
    await clock.advance(0.5)
    assert (await composing).missing[0].service == "reference"
    assert (await composing).missing[0].reason in {"timeout", "budget"}


async def test_parts_that_need_the_same_keys_ask_once() -> None:
    services = Services({"rows": rows_by("ids", "id")})
    found = await composer(services, MovedClock()).compose(batches, ["a", "xb", "c"])
    assert found[one] == {"a": Row("a"), "xb": None}
    assert found[two] == {"a": Row("a"), "xb": None, "c": Row("c")}
    assert sorted(request.body or b"" for request in services.requests) == [b'{"ids":["a","xb"]}', b'{"ids":["c"]}']


async def test_no_keys_are_no_call() -> None:
    services = Services({})
    found = await composer(services, MovedClock()).compose(batches, [])
    assert (found[two], found.missing, services.requests) == ({}, (), [])


async def test_requests_within_a_window_share_a_call_unless_their_headers_differ() -> None:
    clock = MovedClock()

    def merged(replies: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        return {"replies": str(len(replies))}

    services = Services({"rows": rows_by("ids", "id")})
    composing = composer(services, clock, merge_headers=merged)
    tasks = [
        asyncio.create_task(
            composing.compose(shared, key, headers={"x-correlation-id": key, "freehold-consistency": t})
        )
        for key, t in [("a", "1"), ("b", "1"), ("xc", "1"), ("d", "2")]
    ]
    await clock.advance(0.01)
    found = [(await each)[row] for each in tasks]
    assert found == [{"a": Row("a")}, {"b": Row("b")}, {"xc": None}, {"d": Row("d")}]
    assert [(await each).headers for each in tasks] == [{"replies": "1"}] * 4
    assert [request.body for request in services.requests] == [b'{"ids":["a","b","xc"]}', b'{"ids":["d"]}']
    sent = [(each.headers["freehold-consistency"], "x-correlation-id" in each.headers) for each in services.requests]
    assert sent == [("1", False), ("2", False)]


async def test_one_that_leaves_a_shared_call_leaves_it_to_the_others() -> None:
    clock = MovedClock()
    services = Services({"rows": hang})
    composing = composer(services, clock)
    first, second = (asyncio.create_task(composing.compose(shared, key)) for key in "ab")
    await clock.advance(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (services.under_way, services.cancelled) == (1, 0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await settle()
    assert (services.under_way, services.cancelled) == (0, 1)


async def test_rows_of_a_key_are_grouped_in_their_order() -> None:
    view: Composition[str] = Composition("view", budget_seconds=1.0)
    found = view.part(
        "notes",
        grouped_batch("notes", "/query", Document, field="ids", key=lambda row: str(row["id"])),
        by=lambda found: list(found.given),
    )
    rows = [{"id": "a", "n": 2}, {"id": "a", "n": 1}]
    composed = await composer(Services({"notes": always(rows)}), MovedClock()).compose(view, "ab")
    assert composed[found] == {"a": rows, "b": None}


@pytest.mark.parametrize(
    ("key", "path"),
    [("../admin", "/countries/..%2Fadmin"), ("a?b=c&d", "/countries/a%3Fb%3Dc%26d"), ("é", "/countries/%C3%A9")],
)
async def test_a_key_stays_a_key(key: str, path: str) -> None:
    services = Services({"reference": always({})})
    await composer(services, MovedClock()).compose(reference, key)
    assert [request.path for request in services.requests] == [path]

"""`freehold trace` on real engines: where a message is, and what it waits for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.cli.till import PutBack, Sale, SaleClosed, Selling, depot, till
from tests.integration.cli.work import Project, keep, letter, ran, schedule_one, stuck_sagas
from tests.unit.cli.typing_in import Typed
from tests.unit.runtime.trial import envelope_of

from freehold.broker import OutgoingMessage
from freehold.context import ServiceContext
from freehold.inbox.store import INBOX, IncomingMessage
from freehold.leases.store import LEASES
from freehold.messages import Envelope, encode_envelope
from freehold.outbox.store import OUTBOX, lease_name
from freehold.ports import Stores
from freehold.saga import SagaEngine
from freehold.saga.store import SAGAS
from freehold.transaction import Transactions

pytestmark = pytest.mark.timeout(240)


def _found(typed: Typed, which: object, *more: str) -> list[dict[str, Any]]:
    answer = typed("trace", which, "--json", *more)
    found: list[dict[str, Any]] = answer.document["found"]
    assert answer.code == (0 if found else 1)
    return found


async def _stage(project: Project, *envelopes: Envelope, refused: str = "") -> None:
    """Stage, and have the broker refuse the first for a while."""
    async with project.stores(till) as stores:
        rows = [OutgoingMessage(each.id, each.topic, each.key, encode_envelope(each)) for each in envelopes]
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, rows)
        if refused:
            leases = await _lease_all(stores)
            staged = (await stores[OUTBOX].fetch(leases, 10)).rows
            assert await stores[OUTBOX].reschedule(leases, staged[0], 60.0, refused)


async def _lease_all(stores: Stores) -> dict[int, int]:
    names = {lease_name(number): number for number in range(stores[OUTBOX].partitions)}
    await stores[LEASES].ensure(list(names))
    held: dict[int, int] = {}
    for record in await stores[LEASES].list(lease_name(0).rstrip("0")):
        if record.name in names:
            taken = await stores[LEASES].acquire(record, "test")
            assert taken is not None
            held[names[record.name]] = taken.token
    return held


async def _defer(project: Project, *envelopes: Envelope) -> None:
    async with project.stores(depot) as stores, stores.database.begin() as db_tx:
        for each in envelopes:
            arrival = IncomingMessage(each.receipt_key, each.topic, each.key)
            await stores[INBOX].defer(
                db_tx, "depot", arrival, encode_envelope(each), attempts=2, delay_seconds=90.0, reason="ValueError"
            )


async def _receive(project: Project, envelope: Envelope) -> None:
    async with project.stores(depot) as stores, stores.database.begin() as db_tx:
        await stores[INBOX].receive(
            db_tx, "depot", [IncomingMessage(envelope.receipt_key, envelope.topic, envelope.key)]
        )


async def _start_saga(project: Project, key: str) -> None:
    async with project.stores(till) as stores:
        context = ServiceContext("till", stores)
        async with Transactions(context).begin() as tx:
            await SagaEngine(till.sagas, stores[SAGAS], context).start(tx, Selling, Sale(key))


def test_an_unsent_message_is_found_by_id_key_and_cause(project: Project, typed: Typed) -> None:
    sent = envelope_of(SaleClosed("sale 1", 100))
    ran(_stage(project, sent))
    for which in (sent.id, sent.key, sent.correlation_id, str(sent.id).upper()):
        (found,) = _found(typed, which)
        assert (found["service"], found["where"], found["type"]) == ("till", "outbox", sent.type)
        assert (UUID(found["id"]), found["key"]) == (sent.id, sent.key)
        assert "a relay" in found["waits_for"]
    assert _found(typed, uuid4()) == []
    assert _found(typed, sent.id, "--service", "depot") == []


def test_what_is_unsent_behind_a_refused_message_is_told(project: Project, typed: Typed) -> None:
    first, second = envelope_of(SaleClosed("sale 1", 100)), envelope_of(SaleClosed("sale 1", 200))
    ran(_stage(project, first, second, refused="too large"))
    refused, behind = _found(typed, first.key)
    assert (refused["reason"], refused["attempts"]) == ("too large", 1)
    assert "its next attempt in" in refused["waits_for"]
    assert f"message {first.id} of the same key" in behind["waits_for"]


def test_an_unsent_message_waits_for_a_broker_that_is_away(
    project: Project, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = envelope_of(SaleClosed("sale 1", 100))
    ran(_stage(project, sent))
    broken = re.sub(r'^broker = ".*"', 'broker = "nats://127.0.0.1:1"', project.file.read_text(), flags=re.MULTILINE)
    assert tomllib.loads(broken)
    (tmp_path / "away.toml").write_text(broken)
    monkeypatch.setenv("FREEHOLD_SETTINGS", str(tmp_path / "away.toml"))
    (found,) = _found(typed, sent.id)
    assert "the broker: " in found["waits_for"]


def test_a_deferred_message_waits_for_its_time_or_for_another(project: Project, typed: Typed) -> None:
    first, second = envelope_of(SaleClosed("sale 1", 100)), envelope_of(SaleClosed("sale 1", 200))
    ran(_defer(project, first, second))
    head, behind = _found(typed, first.key)
    assert (head["service"], head["where"], head["attempts"], head["reason"]) == ("depot", "deferred", 2, "ValueError")
    assert head["due"] is not None
    assert "its next attempt, in 9" in head["waits_for"] or "in 8" in head["waits_for"]
    assert f"message {first.id} of the same key" in behind["waits_for"]
    (by_id,) = _found(typed, second.id)
    assert by_id == behind


def test_a_scheduled_a_dead_and_a_handled_message(project: Project, typed: Typed) -> None:
    message_id = []

    async def schedule() -> None:
        message_id.append(await schedule_one(project))

    ran(schedule())
    (scheduled,) = _found(typed, message_id[0])
    assert (scheduled["service"], scheduled["where"]) == ("till", "scheduled")
    assert "its due time, in 60 min" in scheduled["waits_for"]
    gone = letter()
    ran(keep(project, gone))
    for which in (gone.message_id, gone.id, gone.key):
        (dead,) = _found(typed, which)
        assert (dead["service"], dead["where"]) == ("depot", "dead")
        assert dead["reason"] == "attempts-exhausted: ValueError: planned"
        assert f"freehold dlq show {gone.id}" in dead["waits_for"]
    done = envelope_of(PutBack("sale 9"))
    ran(_receive(project, done))
    (handled,) = _found(typed, done.id)
    assert (handled["service"], handled["where"]) == ("depot", "handled")
    assert handled["waits_for"] == "nothing: it was handled"
    assert handled["since"] is not None


def test_a_saga_waits_for_a_reply_or_for_an_operator(project: Project, typed: Typed) -> None:
    ran(_start_saga(project, "going"))
    unsent, going = _found(typed, "going")
    assert (unsent["where"], going["where"]) == ("outbox", "saga")
    assert "the reply of depot to step pick, attempt 1" in going["waits_for"]
    assert {each["where"] for each in _found(typed, going["correlation_id"])} == {"outbox", "saga"}
    (by_id,) = [each for each in _found(typed, going["id"]) if each["where"] == "saga"]
    assert {**by_id, "waits_for": ""} == {**going, "waits_for": ""}
    ran(stuck_sagas(project, "stuck"))
    (stuck,) = _found(typed, "stuck")
    assert "an operator must decide about pick" in stuck["waits_for"]
    assert "needs-attention" in stuck["type"]


def test_people_read_it_and_a_broken_service_is_named(
    project: Project, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = envelope_of(SaleClosed("sale 1", 100))
    ran(_stage(project, sent))
    shown = typed("trace", sent.id)
    assert shown.code == 0
    assert "outbox" in shown.out
    assert "a relay, which publishes it" in shown.out
    nothing = typed("trace", "absent")
    assert nothing.code == 1
    assert "nothing was found for absent" in nothing.out
    assert typed("trace").code == 2
    text = project.file.read_text()
    away = re.sub(r"(\[services\.depot\]\ndatabase = )\".*\"", r'\1"postgresql://u:p@127.0.0.1:1/none"', text)
    (tmp_path / "broken.toml").write_text(away)
    monkeypatch.setenv("FREEHOLD_SETTINGS", str(tmp_path / "broken.toml"))
    answer = typed("trace", sent.id, "--json")
    assert answer.code == 3
    assert [each["where"] for each in answer.document["found"]] == ["outbox"]
    assert list(answer.document["failed"]) == ["depot"]
    assert "depot" in answer.err

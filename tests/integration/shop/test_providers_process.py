"""The providers as a process: what it told is kept through kill -9, and its ledger has one owner."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from freehold_shop.providers import (
    DeclineRules,
    Held,
    OrderTotals,
    ProviderConflict,
    ProvidersClient,
    ProviderUnavailable,
)
from freehold_shop.providers.book import Book
from freehold_shop.providers.errors import LedgerDamaged, LedgerWriteFailed
from freehold_shop.providers.ledger import Ledger
from freehold_shop.providers.wire import HoldRequest

pytestmark = pytest.mark.timeout(600)

END_SECONDS = 90


class Providers:
    """A providers process on a free port."""

    def __init__(self, ledger: Path, *options: str) -> None:
        command = [sys.executable, "-m", "freehold_shop.providers", "--port", "0", "--ledger", str(ledger), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        announced = self.process.stdout.readline()
        assert announced, self.process.communicate(timeout=END_SECONDS)[1]
        self.url: str = json.loads(announced)["url"]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=END_SECONDS)

    def terminate(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode


@contextmanager
def running(ledger: Path, *options: str) -> Iterator[Providers]:
    providers = Providers(ledger, *options)
    try:
        yield providers
    finally:
        providers.kill()


async def hold(client: ProvidersClient, number: int) -> Held:
    answer = await client.hold(
        order_id=f"order-{number}",
        customer_ref="17850",
        amount_pence=100,
        currency="GBP",
        idempotency_key=f"hold-{number}",
    )
    assert isinstance(answer, Held)
    return answer


async def test_whatever_was_answered_before_kill_is_there_after_the_restart(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    answered: dict[int, Held] = {}

    async def hold_until_killed(client: ProvidersClient, worker: int) -> None:
        for number in range(worker, 100_000, 8):
            try:
                answered[number] = await hold(client, number)
            except ProviderUnavailable:
                return

    with running(ledger) as providers:
        async with (
            ProvidersClient(providers.url, timeout_seconds=END_SECONDS) as client,
            asyncio.TaskGroup() as workers,
        ):
            for worker in range(8):
                workers.create_task(hold_until_killed(client, worker))
            async with asyncio.timeout(END_SECONDS):
                while len(answered) < 200:
                    await client.check_health()
            providers.kill()

    with running(ledger) as providers:
        async with ProvidersClient(providers.url, timeout_seconds=END_SECONDS) as client:
            entries = [entry async for entry in client.entries()]
            assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
            assert len(answered) <= len(entries) <= len(answered) + 8
            for number, answer in answered.items():
                assert await hold(client, number) == answer
            assert len([entry async for entry in client.entries()]) == len(entries)


async def test_the_state_is_rebuilt_from_the_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    with running(ledger, "--fsync") as providers:
        async with ProvidersClient(providers.url, timeout_seconds=END_SECONDS) as client:
            captured = await client.capture((await hold(client, 1)).hold_id, idempotency_key="c")
            await client.refund(captured.capture_id, amount_pence=60, idempotency_key="r")
            voided = await hold(client, 2)
            await client.void(voided.hold_id, idempotency_key="v")
        assert providers.terminate() == 0
    with running(ledger) as providers:
        async with ProvidersClient(providers.url, timeout_seconds=END_SECONDS) as client:
            assert await client.capture(captured.hold_id, idempotency_key="c") == captured
            with pytest.raises(ProviderConflict, match="refund-above-captured"):
                await client.refund(captured.capture_id, amount_pence=41, idempotency_key="r2")
            with pytest.raises(ProviderConflict, match="hold-voided"):
                await client.capture(voided.hold_id, idempotency_key="c2")
            (page,) = [page async for page in client.summary_pages()]
    assert page.orders == [
        OrderTotals("order-1", held_pence=100, captured_pence=100, refunded_pence=60),
        OrderTotals("order-2", held_pence=100, voided_pence=100),
    ]


async def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    with running(ledger) as providers:
        async with ProvidersClient(providers.url, timeout_seconds=END_SECONDS) as client:
            await hold(client, 1)
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + whole[: len(whole) // 2])
    with running(ledger) as providers:
        async with ProvidersClient(providers.url, timeout_seconds=END_SECONDS) as client:
            await hold(client, 2)
            assert [entry.order_id async for entry in client.entries()] == ["order-1", "order-2"]
    assert ledger.read_bytes().startswith(whole)


@pytest.mark.parametrize("damage", [b"{}\n", b"nonsense\n"])
def test_damage_elsewhere_is_refused(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_bytes(damage)
    ledger = Ledger(path)
    with pytest.raises(LedgerDamaged, match="line 1"):
        Book(ledger, lambda: pytest.fail("nothing is written"))
    ledger.close()


async def test_an_effect_that_cannot_be_written_did_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def write_half_then_fail(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "no space left")
        return write(file, data[:-50])

    ledger = Ledger(tmp_path / "ledger.ndjson")
    book = Book(ledger, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    request = HoldRequest("order", "17850", 100, "GBP")
    with monkeypatch.context() as full:
        full.setattr(os, "write", write_half_then_fail)
        with pytest.raises(LedgerWriteFailed):
            book.hold(request, "key", DeclineRules())
    assert (ledger.path.read_bytes(), book.summary(0, 10).orders) == (b"", [])
    book.hold(request, "key", DeclineRules())
    assert ledger.entry(1).order_id == "order"
    ledger.close()


def test_a_ledger_has_one_owner(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    with running(ledger):
        command = [sys.executable, "-m", "freehold_shop.providers", "--port", "0", "--ledger", str(ledger)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert second.returncode == 2
    assert "in use" in second.stderr

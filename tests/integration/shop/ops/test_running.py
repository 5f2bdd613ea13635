"""The shop as processes: ready together, restarted when they die, gone when they should be."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import psutil
import pytest
from tests.integration.shop.ops.customers import came_back, ended, fill, get, place, until

from freehold.errors import ConfigurationError
from freehold_shop.supervisor.client import Shop, attach, running_shop, start_shop
from freehold_shop.supervisor.errors import ShopAlreadyRuns, ShopNotRunning
from freehold_shop.supervisor.plan import SERVICE_NAMES, Plan
from freehold_shop.supervisor.state import process_lives

pytestmark = pytest.mark.timeout(600)


def family(shop: Shop) -> list[int]:
    return [shop.supervisor_pid, *(each.pid for each in psutil.Process(shop.supervisor_pid).children(recursive=True))]


async def all_gone(pids: list[int]) -> None:
    async def gone() -> bool:
        return not any(process_lives(pid) for pid in pids)

    await until(gone, "every process is gone")


async def test_every_service_is_a_process_that_is_ready_under_its_url(shop: Shop) -> None:
    pids = [pid for service in SERVICE_NAMES for pid in shop.pids()[service]]
    assert len(set(pids)) == len(SERVICE_NAMES)
    for service in SERVICE_NAMES:
        assert (await get(f"{shop.urls[service]}/readyz"))[0] == 200, service


async def test_an_order_goes_through_all_of_them(shop: Shop) -> None:
    assert await ended(shop, [await place(shop)]) == {"confirmed"}


def test_passwords_and_places_of_data_are_for_the_owner_alone(shop: Shop) -> None:
    modes = {name: stat.S_IMODE((shop.state_directory / name).stat().st_mode) for name in ("secrets.json", "data")}
    assert modes == {"secrets.json": 0o600, "data": 0o700}
    assert stat.S_IMODE(Path(shop.state().control).stat().st_mode) == 0o600
    assert shop.databases["orders"] not in (shop.state_directory / "state.json").read_text()


def test_all_processes_together_stay_small(shop: Shop) -> None:
    used = sum(psutil.Process(pid).memory_full_info().pss for pid in family(shop))
    assert used < 1.5 * 2**30


@pytest.mark.parametrize("service", ["orders", "inventory", "gateway"])
async def test_a_killed_service_comes_back_at_its_address_and_goes_on(shop: Shop, service: str) -> None:
    order_ids = [await place(shop) for _ in range(5)]
    killed = shop.kill(service)
    order_ids.append(await place(shop))
    assert await ended(shop, order_ids) == {"confirmed"}
    await came_back(shop, killed)


async def test_all_services_killed_at_once_come_back_and_go_on(shop: Shop) -> None:
    order_ids = [await place(shop) for _ in range(5)]
    assert len(shop.kill_all()) == len(SERVICE_NAMES)
    assert await ended(shop, order_ids) == {"confirmed"}


async def test_the_providers_live_through_it(shop: Shop) -> None:
    provider_pid = shop.state().provider_pid
    await came_back(shop, shop.kill_all())
    assert shop.state().provider_pid == provider_pid
    assert process_lives(provider_pid)


async def test_a_second_shop_on_the_same_directory_is_refused(shop: Shop) -> None:
    with pytest.raises(ShopAlreadyRuns, match=str(shop.supervisor_pid)):
        await start_shop(Plan(shop.state_directory))


async def test_nothing_outlives_a_killed_supervisor_and_the_next_one_resumes(state_directory: Path) -> None:
    first = await start_shop(Plan(state_directory))
    await fill(first)
    order_ids = [await place(first) for _ in range(3)]
    pids = family(first)
    os.kill(first.supervisor_pid, signal.SIGKILL)
    await all_gone(pids)
    with pytest.raises(ShopNotRunning):
        attach(state_directory)
    second = await start_shop(Plan(state_directory))
    try:
        assert second.urls == first.urls
        assert await ended(second, order_ids) == {"confirmed"}
    finally:
        pids = family(second)
        await second.stop()
    await all_gone(pids)
    with pytest.raises(ShopNotRunning):
        attach(state_directory)


async def test_two_processes_of_a_service_share_its_address(state_directory: Path) -> None:
    async with running_shop(state_directory=state_directory, instances={"orders": 2}) as shop:
        await fill(shop)
        first, second = shop.pids()["orders"]
        assert first != second
        order_ids = [await place(shop) for _ in range(5)]
        assert shop.kill("orders", 0) == (first,)
        order_ids += [await place(shop) for _ in range(5)]
        assert await ended(shop, order_ids) == {"confirmed"}


async def test_all_services_run_in_a_single_process(state_directory: Path) -> None:
    async with running_shop(state_directory=state_directory, single_process=True) as shop:
        assert list(shop.pids()) == ["all"]
        await fill(shop)
        order_ids = [await place(shop) for _ in range(3)]
        shop.kill("all")
        assert await ended(shop, order_ids) == {"confirmed"}


async def test_a_shop_that_cannot_start_says_why_and_leaves_nothing_running(
    state_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEHOLD_ORDERS_DATABASE_OPTIONS_POOL_SIZE", "many")
    with pytest.raises(ConfigurationError, match="pool_size"):
        await start_shop(Plan(state_directory))
    with pytest.raises(ShopNotRunning):
        attach(state_directory)

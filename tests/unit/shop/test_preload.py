"""What the supervisor loads before it forks, and the server that waits instead of looking."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

from freehold_shop.supervisor.plan import SERVICE_NAMES
from freehold_shop.supervisor.service_process import WokenServer, server_config

_LOADED = """
import json, os, sys, threading
from freehold import Settings
from freehold_shop.assembly import SERVICES, create_app, run_service
from freehold_shop.settings import DEFAULT_PORTS, ShopSettings, configure
from freehold_shop.supervisor.preload import preload
database, broker = sys.argv[1:]
configure(ShopSettings(urls={name: "http://127.0.0.1:9" for name in DEFAULT_PORTS}, checkout="saga"))
settings = {name: Settings.load(name, database=database, broker=broker) for name in SERVICES}
open_before = set(os.listdir("/proc/self/fd"))
made = preload(settings)
left = len(set(os.listdir("/proc/self/fd")) - open_before)
known = set(sys.modules)
for name in SERVICES:
    create_app(name, run_service(name, settings[name]))
create_app("gateway")
print(json.dumps([threading.active_count(), left, sorted(set(sys.modules) - known), sorted(made)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
@pytest.mark.parametrize(
    ("database", "broker"),
    [
        ("sqlite:///{directory}/service.db", "embedded:///{directory}/broker.db"),
        ("postgresql://service@127.0.0.1:9/service", "nats://127.0.0.1:9"),
    ],
)
def test_services_find_everything_loaded_and_inherit_no_thread_or_descriptor(
    tmp_path: Path, database: str, broker: str
) -> None:
    urls = [each.format(directory=tmp_path) for each in (database, broker)]
    answer = subprocess.run([sys.executable, "-c", _LOADED, *urls], check=True, capture_output=True, timeout=120)
    threads, descriptors, imported, made = json.loads(answer.stdout.splitlines()[-1])
    assert (threads, descriptors, imported) == (1, 0, [])
    assert made == sorted(SERVICE_NAMES)


class _Counting(WokenServer):
    ticks = 0

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        return await super().on_tick(counter)


async def test_the_server_waits_for_its_end_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("uvicorn.server.asyncio.sleep", noted)
    server = _Counting(server_config(FastAPI()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await sleep(0)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        assert (server.ticks, waits) == (1, [])
        server.end()
        await asyncio.wait_for(serving, 60)
        writer.close()

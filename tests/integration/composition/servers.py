"""Services behind real sockets that answer, are slow, fail, hang or cut the connection."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

NOWHERE = "http://127.0.0.1:9"


@dataclass
class Downstream:
    """What the services saw. `waiting` and `given_up` are set by calls to the one that hangs."""

    urls: Mapping[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    budgets_ms: dict[str, int] = field(default_factory=dict)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.split("/")[1]
        self.calls[kind] += 1
        self.budgets_ms[kind] = int(request.headers.get("freehold-budget-ms", "-1"))
        self.under_way += 1
        try:
            return await self._answer(kind, request)
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        finally:
            self.under_way -= 1

    async def _answer(self, kind: str, request: web.Request) -> web.StreamResponse:
        match kind:
            case "slow":
                await asyncio.sleep(float(request.query["seconds"]))
                return web.json_response({"path": request.raw_path})
            case "failing":
                return web.json_response({}, status=500)
            case "flaky":
                return web.json_response({}, status=500 if self.calls[kind] % 2 else 200)
            case "hanging":
                self.waiting.set()
                await asyncio.Event().wait()
            case "redirecting":
                raise web.HTTPFound("/slow?seconds=0")
            case "large":
                return web.Response(body=b'"' + b"x" * 20_000 + b'"')
            case "cutting":
                assert request.transport is not None
                request.transport.abort()
            case "query":
                keys = (await request.json())["ids"]
                return web.json_response([{"id": key} for key in keys])
            case _:
                pass
        return web.json_response({"path": request.raw_path}, headers={"Freehold-Consistency": "t1"})


@asynccontextmanager
async def downstream() -> AsyncIterator[Downstream]:
    """One server that plays all services; what it does is the first part of the path."""
    made = Downstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    made.urls = {**dict.fromkeys(("service", "failing", "flaky", "hanging", "cutting", "large"), url), "gone": NOWHERE}
    yield made
    await runner.cleanup()

"""The gateway's application. It has no database and no messages. Imports FastAPI and the gateway's modules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from freehold.http import BodyLimitMiddleware, install_problems
from freehold_shop.calls import close_calls
from freehold_shop.gateway import compositions, customer360, details, intake, proxy
from freehold_shop.gateway.paths import PathMiddleware
from freehold_shop.problems import answer_problems

__all__ = ["create_gateway"]


def create_gateway() -> FastAPI:
    """Make the application; it finds the services by `settings().urls`."""
    composer = compositions.create_composer()

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await composer.close()
        await close_calls()

    app = FastAPI(title="gateway", lifespan=life)
    app.add_middleware(PathMiddleware)
    app.add_middleware(BodyLimitMiddleware)
    install_problems(app)
    answer_problems(app)
    app.add_api_route("/healthz", _alive, methods=["GET"], include_in_schema=False)
    app.add_api_route("/readyz", _alive, methods=["GET"], include_in_schema=False)
    app.include_router(intake.routes())
    for composed in (compositions, details, customer360):
        app.include_router(composed.routes(composer))
    app.include_router(proxy.routes())
    return app


async def _alive() -> dict[str, str]:
    """Ready whenever it runs: it answers in part while services are down."""
    return {"status": "ok"}

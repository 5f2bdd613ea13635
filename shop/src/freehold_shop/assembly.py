"""The shop's composition root: its services by name, and the application of each.

Imports all services, FastAPI's integration and the runtime. Call it in the process that serves, after any fork.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI

from freehold import Service, Settings
from freehold.broker import Broker
from freehold.composition import BudgetMiddleware
from freehold.http import install, lifespan, problem_responses
from freehold.runtime import RunningService, Stores
from freehold_shop.calls import close_calls
from freehold_shop.catalog import api as catalog_api
from freehold_shop.catalog.service import catalog
from freehold_shop.gateway.app import create_gateway
from freehold_shop.inventory import api as inventory_api
from freehold_shop.inventory.service import inventory
from freehold_shop.notifications import api as notifications_api
from freehold_shop.notifications.service import notifications
from freehold_shop.orders import api as orders_api
from freehold_shop.orders.service import orders
from freehold_shop.overview import api as overview_api
from freehold_shop.overview.service import overview
from freehold_shop.payments import api as payments_api
from freehold_shop.payments.service import payments
from freehold_shop.problems import answer_problems
from freehold_shop.reference import api as reference_api
from freehold_shop.reference.service import reference, seed
from freehold_shop.shipping import api as shipping_api
from freehold_shop.shipping.service import shipping
from freehold_shop.users import api as users_api
from freehold_shop.users.service import users

__all__ = ["GATEWAY", "SERVICES", "ShopService", "create_app", "run_service"]

GATEWAY = "gateway"


async def _nothing(_running: RunningService) -> None:
    return


@dataclass(frozen=True, slots=True)
class ShopService:
    """A service with a database: its declaration, its API, and what it does once it has started."""

    service: Service
    routes: Callable[[RunningService], APIRouter]
    on_start: Callable[[RunningService], Awaitable[None]] = _nothing

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.name


SERVICES: Mapping[str, ShopService] = {
    each.name: each
    for each in (
        ShopService(users, users_api.routes),
        ShopService(reference, reference_api.routes, seed),
        ShopService(catalog, catalog_api.routes),
        ShopService(inventory, inventory_api.routes),
        ShopService(orders, orders_api.routes),
        ShopService(payments, payments_api.routes),
        ShopService(shipping, shipping_api.routes),
        ShopService(notifications, notifications_api.routes),
        ShopService(overview, overview_api.routes),
    )
}
"""Every service that owns a database. `create_app` also makes the gateway, which owns none."""


def run_service(
    name: str, settings: Settings | None = None, broker: Broker | None = None, stores: Stores | None = None
) -> RunningService:
    """Make the runtime of a service without starting it. Services of one process share the `broker` given."""
    return RunningService(SERVICES[name].service, settings, broker=broker, stores=stores)


def create_app(name: str, running: RunningService | None = None) -> FastAPI:
    """Make the application of a service, or of the gateway.

    Its lifespan starts and stops `running`, which is made from the settings where none is given; it does not start one
    that already runs. Raises `KeyError` for a name that the shop does not have.
    """
    if name == GATEWAY:
        return create_gateway()
    shop_service = SERVICES[name]
    serving = running or run_service(name)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(serving)(app):
            await shop_service.on_start(serving)
            yield
        await close_calls()

    app = FastAPI(title=name, lifespan=life)
    install(app)
    app.add_middleware(BudgetMiddleware)
    answer_problems(app)
    app.include_router(shop_service.routes(serving), responses=problem_responses(400, 404, 409, 413, 422, 503))
    return app

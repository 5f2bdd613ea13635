"""A service's HTTP API with FastAPI: lifespan, transactions, health. Runtime: imports the runtime, FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from freehold.errors import ConfigurationError, DeclarationError
from freehold.http.aborted_response import install_log_filter
from freehold.http.caller import SESSION_COOKIES, Caller, Callers
from freehold.http.context import RequestContext
from freehold.http.limit import BODY_BYTES_MAX, BodyLimitMiddleware, check_bytes_max
from freehold.http.middleware import TransactionMiddleware
from freehold.http.problems import RETRY_AFTER_SECONDS, install_problems
from freehold.pattern import Pattern
from freehold.runtime import RunningService
from freehold.runtime.patterns import PATTERNS
from freehold.service import Service
from freehold.settings import Settings
from freehold.telemetry import CONTENT_TYPE, database_metrics, process_metrics
from freehold.transaction import Transaction

__all__ = ["Tx", "create_app", "install", "lifespan", "running_service", "transaction"]

_READY_TIMEOUT_SECONDS = 2.0


async def transaction(request: Request) -> Transaction:
    """The dependency for an endpoint's transaction, one for a request. It is committed before the response is sent if
    the status is below 400, and rolled back otherwise.
    """
    return await _context(request).transaction()


Tx = Annotated[Transaction, Depends(transaction)]
"""`async def place(order: Order, tx: Tx)`: an endpoint with a transaction."""


def running_service(request: Request) -> RunningService:
    """The dependency for the service that an endpoint belongs to."""
    return _context(request).running


def create_app(
    target: Service | RunningService,
    settings: Settings | None = None,
    *,
    caller: Caller | None = None,
    session_cookies: Collection[str] = SESSION_COOKIES,
    body_bytes_max: int = BODY_BYTES_MAX,
    **options: Any,
) -> FastAPI:
    """Make an application that runs a service, or that serves a service which runs already.

    `caller`, `session_cookies` and `body_bytes_max` are those of `install`, `options` are FastAPI's.
    """
    app = FastAPI(lifespan=lifespan(target, settings), **{"title": _name(target), **options})
    install(app, caller=caller, session_cookies=session_cookies, body_bytes_max=body_bytes_max)
    return app


def lifespan(
    target: Service | RunningService, settings: Settings | None = None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The lifespan of an application that runs a service: `FastAPI(lifespan=lifespan(orders))`, with `install(app)`.

    A `RunningService` that was started before is used, and not stopped.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        running = target if isinstance(target, RunningService) else RunningService(target, settings)
        app.state.freehold = running
        _include_routes(app, running.service.patterns)
        if running.started:
            yield
            return
        async with running:
            yield

    return life


def install(
    app: FastAPI,
    *,
    caller: Caller | None = None,
    session_cookies: Collection[str] = SESSION_COOKIES,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> None:
    """Add transactions, idempotency keys, problems, a limit for bodies, /healthz, /readyz and /metrics to an
    application.

    Each caller has its own idempotency keys. `caller` returns a stable id of the user who sends a request, or None if
    there is none; it may be `async`. Without an id, callers are distinguished by the `Authorization` header or else by
    the cookies named in `session_cookies`. A body of more than `body_bytes_max` bytes is refused with 413.

    All of this runs inside of the application's other middleware, in whatever order that is added. Raises
    `DeclarationError` for wrong arguments, at a second call, and if the application serves requests already.
    """
    check_bytes_max(body_bytes_max)
    callers = Callers(caller, session_cookies)
    if any(isinstance(each.cls, type) and issubclass(each.cls, TransactionMiddleware) for each in app.user_middleware):
        raise DeclarationError("install was called before", hint="call it once; create_app calls it")
    if app.middleware_stack is not None:
        raise DeclarationError("the application serves requests already", hint="call install where it is made")
    # The last of the list is the innermost: other middleware sees a response only after its commit.
    app.user_middleware.append(Middleware(TransactionMiddleware, callers=callers, body_bytes_max=body_bytes_max))
    app.user_middleware.append(Middleware(BodyLimitMiddleware, bytes_max=body_bytes_max))
    install_problems(app)
    install_log_filter()
    _include_routes(app, PATTERNS)
    app.add_api_route("/healthz", _healthz, methods=["GET"], include_in_schema=False)
    app.add_api_route("/metrics", _metrics, methods=["GET"], include_in_schema=False)
    app.add_api_route("/metrics/database", _database_metrics, methods=["GET"], include_in_schema=False)
    app.add_api_route("/readyz", _readyz, methods=["GET"], include_in_schema=False)


def _include_routes(app: FastAPI, patterns: Iterable[Pattern[Any]]) -> None:
    """Add the routes that patterns declare."""
    for pattern in patterns:
        if pattern.routes:
            module, _, attribute = pattern.routes.partition(":")
            app.include_router(getattr(import_module(module), attribute)())


async def _healthz() -> dict[str, str]:
    """Say that the process is alive; asks neither database nor broker."""
    return {"status": "ok"}


async def _readyz(request: Request) -> JSONResponse:
    readiness = await running_service(request).readiness(_READY_TIMEOUT_SECONDS)
    content: dict[str, Any] = {
        "status": "ready" if readiness.ready else "not-ready",
        "problems": dict(readiness.problems),
    }
    if readiness.notices:
        content["notices"] = dict(readiness.notices)
    if readiness.ready:
        return JSONResponse(content)
    return JSONResponse(content, 503, headers={"Retry-After": RETRY_AFTER_SECONDS})


async def _metrics(request: Request) -> Response:
    """What this process counts; asks neither database nor broker."""
    running = _measured(request)
    return Response(await process_metrics(running), media_type=CONTENT_TYPE)


async def _database_metrics(request: Request) -> Response:
    """What waits in the database and on the broker: the same in every process of the service."""
    running = _measured(request)
    return Response(await database_metrics(running), media_type=CONTENT_TYPE)


def _measured(request: Request) -> RunningService:
    running = running_service(request)
    if not running.settings.metrics:
        raise HTTPException(404, "metrics are off: see the setting `metrics`")
    return running


def _context(request: Request) -> RequestContext:
    context = request.scope.get("freehold")
    if not isinstance(context, RequestContext):
        raise ConfigurationError(
            "no service runs in this application", hint="install(app) and FastAPI(lifespan=lifespan(service))"
        )
    return context


def _name(target: Service | RunningService) -> str:
    return target.service.name if isinstance(target, RunningService) else target.name

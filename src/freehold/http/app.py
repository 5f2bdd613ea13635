"""A service's HTTP API with FastAPI: lifespan, transactions, health. Runtime: imports the runtime, FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware

from freehold.errors import ConfigurationError, DeclarationError
from freehold.http.caller import SESSION_COOKIES, Caller, Callers
from freehold.http.context import RequestContext
from freehold.http.cut import tell_once
from freehold.http.limit import BODY_BYTES_MAX, BodyLimitMiddleware, check_bytes_max
from freehold.http.middleware import TransactionMiddleware
from freehold.http.problems import RETRY_AFTER_SECONDS, install_problems
from freehold.pattern import Pattern
from freehold.runtime import RunningService
from freehold.runtime.patterns import PATTERNS
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction

__all__ = ["Tx", "create_app", "install", "lifespan", "running_service", "transaction"]

_READY_TIMEOUT_SECONDS = 2.0


async def transaction(request: Request) -> Transaction:
    """The dependency that gives an endpoint its transaction: committed before the answer is sent if that is below 400,
    rolled back otherwise. Asked for twice in one request it is the same one.
    """
    return await _context(request).transaction()


Tx = Annotated[Transaction, Depends(transaction)]
"""`async def place(order: Order, tx: Tx)`: an endpoint with a transaction."""


def running_service(request: Request) -> RunningService:
    """The dependency that gives an endpoint the service it runs in."""
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
    """Make an application that runs a service, or stands before one that runs.

    `caller`, `session_cookies` and `body_bytes_max` are those of `install`, `options` are FastAPI's.
    """
    app = FastAPI(lifespan=lifespan(target, settings), **{"title": _name(target), **options})
    install(app, caller=caller, session_cookies=session_cookies, body_bytes_max=body_bytes_max)
    return app


def lifespan(
    target: Service | RunningService, settings: Settings | None = None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The lifespan of an application that runs a service: `FastAPI(lifespan=lifespan(orders))`, with `install(app)`.

    A `RunningService` that was started elsewhere is used as it is, and not stopped.
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
    """Add transactions, idempotency keys, problems, a limit of bodies, /healthz and /readyz to an application.

    Idempotency keys are each caller's own. `caller` returns a stable id of the user that a request comes from, or None
    where there is none; it may be `async`. Without an id, the `Authorization` header tells callers apart and, where
    there is none, the cookies named in `session_cookies`. A body of more than `body_bytes_max` bytes is refused: 413.

    All of this goes inside of the middleware that the application has or gets, in whatever order it is added. Raises
    `DeclarationError` for arguments that cannot be meant, and where it was called before or the application serves.
    """
    check_bytes_max(body_bytes_max)
    callers = Callers(caller, session_cookies)
    if any(isinstance(each.cls, type) and issubclass(each.cls, TransactionMiddleware) for each in app.user_middleware):
        raise DeclarationError("this application has all of it already", hint="call install once; create_app calls it")
    if app.middleware_stack is not None:
        raise DeclarationError("this application serves already", hint="call install where it is made")
    # The last of the list is the innermost: what others do with an answer, they do with one that is committed.
    app.user_middleware.append(Middleware(TransactionMiddleware, callers=callers, body_bytes_max=body_bytes_max))
    app.user_middleware.append(Middleware(BodyLimitMiddleware, bytes_max=body_bytes_max))
    install_problems(app)
    tell_once()
    _include_routes(app, PATTERNS)
    app.add_api_route("/healthz", _healthz, methods=["GET"], include_in_schema=False)
    app.add_api_route("/readyz", _readyz, methods=["GET"], include_in_schema=False)


def _include_routes(app: FastAPI, patterns: Iterable[Pattern[Any]]) -> None:
    """Add the routes that patterns declare."""
    for pattern in patterns:
        if pattern.routes:
            module, _, attribute = pattern.routes.partition(":")
            app.include_router(getattr(import_module(module), attribute)())


async def _healthz() -> dict[str, str]:
    """The process lives; nothing is asked of anybody else."""
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


def _context(request: Request) -> RequestContext:
    context = request.scope.get("freehold")
    if not isinstance(context, RequestContext):
        raise ConfigurationError(
            "no service runs behind this application", hint="install(app) and FastAPI(lifespan=lifespan(service))"
        )
    return context


def _name(target: Service | RunningService) -> str:
    return target.service.name if isinstance(target, RunningService) else target.name

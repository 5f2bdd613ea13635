"""Services that are played: what each answers, and everything that it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from freehold.composition import Reply, Request
from freehold.errors import Unavailable

Answer = Callable[[Request], Awaitable[Reply]]


def reply(document: object, status: int = 200, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, msgspec.json.encode(document), names)


def always(document: object, status: int = 200, **headers: str) -> Answer:
    async def answer(_request: Request) -> Reply:
        return reply(document, status, **headers)

    return answer


async def hang(_request: Request) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def gone(_request: Request) -> Reply:
    raise Unavailable("nothing listens")


def rows_by(field_name: str, column: str) -> Answer:
    """Answers a batch with a row for every key that does not begin with an x."""

    async def answer(request: Request) -> Reply:
        keys = msgspec.json.decode(request.body or b"{}")[field_name]
        return reply([{column: key, "of": request.service} for key in keys if not key.startswith("x")])

    return answer


@dataclass
class Services:
    """A `Fetch`; `cancelled` counts the calls that were given up."""

    answers: dict[str, Answer]
    requests: list[Request] = field(default_factory=list)
    under_way: int = 0
    cancelled: int = 0

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        self.under_way += 1
        try:
            return await self.answers[request.service](request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1

    def asked(self, service: str) -> list[Request]:
        return [request for request in self.requests if request.service == service]

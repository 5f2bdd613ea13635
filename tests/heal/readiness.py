"""The readiness of the services of a running shop. Imports aiohttp and the shop's client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from freehold_shop.supervisor.client import Shop

__all__ = ["Readiness", "readiness"]

_ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """The readiness of one service: `problems` is empty where it is ready; it can be ready with `notices`."""

    problems: str = ""
    notices: str = ""


async def readiness(shop: Shop) -> Mapping[str, Readiness]:
    """The readiness of each service; no answer is a problem too."""
    timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
    services = [name for name in shop.urls if name != "providers"]
    async with aiohttp.ClientSession(timeout=timeout) as session:
        answers = await asyncio.gather(*(_ask(session, shop.urls[name]) for name in services))
    return dict(zip(services, answers, strict=True))


async def _ask(session: aiohttp.ClientSession, url: str) -> Readiness:
    try:
        async with session.get(f"{url}/readyz") as response:
            document = await response.json(content_type=None)
            problems = _text(document.get("problems", {}))
            unready = "" if response.status == 200 else problems or f"status {response.status}"
            return Readiness(unready, _text(document.get("notices", {})))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Readiness(f"does not answer ({type(error).__name__})")


def _text(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())

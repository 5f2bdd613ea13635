"""The HTTP API of the reference service. Imports FastAPI and the shop's queries."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from freehold.runtime import RunningService
from freehold_shop.fields import CountryCode
from freehold_shop.problems import not_found
from freehold_shop.queries import read, read_one

__all__ = ["routes"]

_COUNTRY = ("code", "name", "currency")
_CURRENCY = ("code", "name", "minor_digits")


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.get("/countries")
    async def list_countries() -> list[dict[str, Any]]:
        return await read(running, _COUNTRY, "FROM country ORDER BY code")

    @router.get("/countries/{code}")
    async def show_country(code: CountryCode) -> Any:
        found = await read_one(running, _COUNTRY, "FROM country WHERE code = $1", [code])
        if found is None:
            raise not_found("country")
        return found

    @router.get("/currencies")
    async def list_currencies() -> list[dict[str, Any]]:
        return await read(running, _CURRENCY, "FROM currency ORDER BY code")

    return router

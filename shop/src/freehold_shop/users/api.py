"""The HTTP API of users. A country that is not in the replica yet is fetched from the reference service.

Imports FastAPI, the shop's calls and its own modules.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy import select

from freehold.http import Tx
from freehold.runtime import RunningService
from freehold.transaction import Transaction
from freehold_shop.calls import fetch
from freehold_shop.copies import keep_country
from freehold_shop.fields import Body, CountryCode, Email, Identity, Name, NewIdentity, Text
from freehold_shop.problems import Problem, not_found
from freehold_shop.queries import read_one
from freehold_shop.reference.contracts import CountryDefined
from freehold_shop.users.customers import CustomerData, change, register
from freehold_shop.users.tables import country_copy

__all__ = ["routes"]

_CUSTOMER = ("customer_id", "name", "email", "country", "address", "revision")


class Person(Body):
    """The data of a customer."""

    name: Name
    email: Email
    country: CountryCode
    address: Text = ""

    def data(self, customer_id: str) -> CustomerData:
        """The same as the service's type."""
        return CustomerData(customer_id, self.name, self.email, self.country, self.address)


class NewCustomer(Person):
    """A customer to register."""

    customer_id: NewIdentity


class ManyCustomers(Body):
    """Customers to register where they are not registered yet."""

    customers: Annotated[list[NewCustomer], Field(max_length=5_000)]


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.post("/customers/bulk")
    async def register_many(body: ManyCustomers, tx: Tx) -> dict[str, int]:
        await _check_countries(tx, {each.country for each in body.customers})
        wanted = [each.data(each.customer_id) for each in body.customers]
        registered = await register(tx, wanted)
        return {"registered": len(registered), "known": len(wanted) - len(registered)}

    @router.post("/customers", status_code=201)
    async def register_one(body: NewCustomer, response: Response, tx: Tx) -> dict[str, str]:
        await _check_countries(tx, {body.country})
        registered = await register(tx, [body.data(body.customer_id)])
        if not registered:
            response.status_code = 200
        return {"customer_id": body.customer_id}

    @router.put("/customers/{customer_id}")
    async def change_one(customer_id: Identity, body: Person, tx: Tx) -> dict[str, str]:
        await _check_countries(tx, {body.country})
        if not await change(tx, body.data(customer_id)):
            raise not_found("customer")
        return {"customer_id": customer_id}

    @router.get("/customers/{customer_id}")
    async def show_one(customer_id: Identity) -> Any:
        found = await read_one(running, _CUSTOMER, "FROM customer WHERE customer_id = $1", [customer_id])
        if found is None:
            raise not_found("customer")
        return found

    return router


async def _check_countries(tx: Transaction, codes: set[str]) -> None:
    missing = codes - set((await tx.connection.execute(select(country_copy.c.code))).scalars())
    for code in sorted(missing):
        country = await fetch("reference", f"/countries/{code}", CountryDefined)
        if country is None:
            raise Problem(422, "unknown-country", f"there is no country {code}")
        await keep_country(tx, country)

"""Which versions of its events a projection must be able to take: a service does not start where one would be lost."""

from __future__ import annotations

import pytest
from tests.integration.projection.models import settings_for, until

from freehold import Projection, ProjectionContext, RunningService, Service, event
from freehold.errors import DeclarationError
from freehold.messages import upcaster

SEEN: list[object] = []


@event("bank.address-changed", version=1, key="account")
class AddressChangedOnce:
    account: str


@event("bank.address-changed", version=2, key="account")
class AddressChanged:
    account: str
    country: str = ""


@event("bank.owner-changed", version=1, key="account")
class OwnerChangedOnce:
    account: str


@event("bank.owner-changed", version=2, key="account")
class OwnerChanged:
    account: str
    owner: str


@upcaster("bank.owner-changed", from_version=1)
def owner_changed(body: dict[str, object]) -> dict[str, object]:
    return body | {"owner": "unknown"}


def service_of(*handled: type[object]) -> Service:
    projection = Projection("changes", categories={"account"})
    for each in handled:

        @projection.on(each)
        async def changed(event: object, write: ProjectionContext) -> None:
            SEEN.append(event)

    service = Service("bank")
    service.projects(projection)
    return service


@pytest.mark.parametrize(
    ("handled", "said"),
    [
        (AddressChanged, "handles 'bank.address-changed', and not its version 1"),
        (AddressChangedOnce, "handles 'bank.address-changed', and not its version 2"),
        (OwnerChangedOnce, "handles 'bank.owner-changed' version 1, which never reaches it"),
    ],
)
async def test_a_version_that_would_be_passed_over_is_refused(url: str, handled: type[object], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        await RunningService(service_of(handled), settings_for(url)).start()


async def test_every_version_comes_to_a_handler(url: str) -> None:
    SEEN.clear()
    service = service_of(AddressChangedOnce, AddressChanged, OwnerChanged)
    async with RunningService(service, settings_for(url)) as running:
        async with running.transaction() as tx:
            stored = (AddressChangedOnce("a"), AddressChanged("a"), OwnerChangedOnce("a"), OwnerChanged("a", "ann"))
            tx.append("account-a", *stored)

        async def all_seen() -> bool:
            return len(SEEN) >= len(stored)

        await until(all_seen)
    assert [
        AddressChangedOnce("a"),
        AddressChanged("a"),
        OwnerChanged("a", "unknown"),
        OwnerChanged("a", "ann"),
    ] == SEEN

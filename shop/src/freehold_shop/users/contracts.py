"""What the users service publishes. Imports Freehold's messages and datasets; the only module others may import.

Both events carry state: all that a replica of a customer needs. `revision` increases by one with each change, so that
an older event does not overwrite a row that was fetched over HTTP.
"""

from __future__ import annotations

from freehold.messages import event
from freehold.reconcile import Dataset

__all__ = ["CUSTOMERS", "CustomerRegistered", "UserUpdated"]

CUSTOMERS = Dataset("users.customers", "customer_id", ("name", "email", "country", "address", "revision"))
"""The customers, for services that replicate them."""


@event("users.customer-registered", version=1, key="customer_id")
class CustomerRegistered:
    """A customer exists."""

    customer_id: str
    name: str
    email: str
    country: str
    address: str
    revision: int


@event("users.user-updated", version=1, key="customer_id")
class UserUpdated:
    """A customer's data changed; these are the new ones."""

    customer_id: str
    name: str
    email: str
    country: str
    address: str
    revision: int

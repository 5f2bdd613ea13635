"""What the users service publishes. Imports Freehold's messages and datasets; the only module others may import.

Both events are fat: they carry all that a copy of a customer needs. `revision` goes up by one with each change, so that
a copy which was fetched over HTTP is not set back by an event that is older.
"""

from __future__ import annotations

from freehold.messages import event
from freehold.reconcile import Dataset

__all__ = ["CUSTOMERS", "CustomerRegistered", "UserUpdated"]

CUSTOMERS = Dataset("users.customers", "customer_id", ("name", "email", "country", "address", "revision"))
"""The customers, for those who keep a copy."""


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
    """A customer's data changed; this is how it stands now."""

    customer_id: str
    name: str
    email: str
    country: str
    address: str
    revision: int

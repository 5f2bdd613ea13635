"""What the reference service publishes. Imports Freehold's messages and datasets.

The only module others may import.
"""

from __future__ import annotations

from freehold.messages import event
from freehold.reconcile import Dataset

__all__ = ["COUNTRIES", "CountryDefined", "CurrencyDefined"]

COUNTRIES = Dataset("reference.countries", "code", ("name", "currency"))
"""The countries, for services that replicate them."""


@event("reference.country-defined", version=1, key="code")
class CountryDefined:
    """A country exists, with this name and this currency. The event has everything that a replica needs."""

    code: str
    name: str
    currency: str


@event("reference.currency-defined", version=1, key="code")
class CurrencyDefined:
    """A currency exists; amounts in minor units have `minor_digits` decimals."""

    code: str
    name: str
    minor_digits: int

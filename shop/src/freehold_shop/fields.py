"""Types of fields in the APIs' bodies, paths and queries, with their bounds. Imports pydantic and the rules."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from freehold_shop import rules

__all__ = [
    "Body",
    "CountryCode",
    "CurrencyCode",
    "Email",
    "Identity",
    "Key",
    "Name",
    "NewIdentity",
    "PricePence",
    "Quantity",
    "Sku",
    "Text",
]


def _text(pattern: str) -> StringConstraints:
    """A constraint with a compiled pattern: then pydantic uses Python's engine, which can look ahead."""
    return StringConstraints(pattern=re.compile(pattern))


Identity = Annotated[str, _text(rules.IDENTITY)]
"""An id in a look-up."""
NewIdentity = Annotated[str, _text(rules.NEW_IDENTITY)]
"""An id for something new."""
Sku = Annotated[str, _text(rules.SKU)]
Key = Annotated[str, _text(rules.KEY)]
"""A product's code in a look-up."""
Name = Annotated[str, _text(rules.NAME)]
Text = Annotated[str, _text(rules.TEXT)]
Email = Annotated[str, _text(rules.EMAIL)]
Quantity = Annotated[int, Field(ge=1, le=rules.QUANTITY_MAX)]
PricePence = Annotated[int, Field(ge=1, le=rules.UNIT_PRICE_PENCE_MAX)]
CountryCode = Annotated[str, Field(pattern="^[A-Z]{2}$")]
CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$")]


class Body(BaseModel):
    """A request's body: unknown fields are an error, so that a misspelt one is noticed, and `true` is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

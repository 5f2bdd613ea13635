"""Types of fields in the APIs' bodies, with their bounds. Imports pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Body", "CountryCode", "CurrencyCode", "Identity", "NewIdentity", "PricePence", "Quantity", "Sku", "Text"]

Identity = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""An id that something may have."""
NewIdentity = Annotated[str, Field(pattern=r"^(?:\.{0,2}[A-Za-z0-9_-]|\.{3})[A-Za-z0-9._-]*$", max_length=64)]
"""An id that something may get: none that is `.` or `..`, for it stands in paths."""
Sku = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=500)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000_000)]
PricePence = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountryCode = Annotated[str, Field(pattern="^[A-Z]{2}$")]
CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$")]


class Body(BaseModel):
    """A request's body: unknown fields are an error, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

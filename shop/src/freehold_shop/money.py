"""Money: whole pence (minor units) and a currency. Imports the errors of Freehold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from freehold import InvalidValue
from freehold_shop.rules import PENCE_MAX

__all__ = ["CurrencyMismatch", "Money", "checked_pence"]


def checked_pence(pence: int) -> int:
    """Return a computed amount if it is within the bounds of tables and readers. Raises `InvalidValue`."""
    if not -PENCE_MAX <= pence <= PENCE_MAX:
        raise InvalidValue("pence", f"must be at most {PENCE_MAX}")
    return pence


class CurrencyMismatch(ValueError):
    """Amounts of two currencies cannot be added."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount: `pence` is a whole number of minor units, `currency` an ISO 4217 code. Never a float."""

    pence: int
    currency: str = "GBP"

    def __add__(self, other: Money) -> Money:
        """The sum. Raises `CurrencyMismatch`, `InvalidValue`."""
        return Money(checked_pence(self.pence + self._same(other).pence), self.currency)

    def __sub__(self, other: Money) -> Money:
        """The difference. Raises `CurrencyMismatch`, `InvalidValue`."""
        return Money(checked_pence(self.pence - self._same(other).pence), self.currency)

    def _same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} cannot be added")
        return other

    @classmethod
    def total(cls, amounts: Iterable[Money], currency: str) -> Money:
        """The sum of amounts of one currency; zero where there are none."""
        return sum(amounts, cls(0, currency))

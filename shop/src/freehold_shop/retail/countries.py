"""The countries of the data set, with ISO codes, and their currencies: the first data of the reference service.

The names are the data set's own, including `EIRE` and `RSA`. Where a name is no country of ISO 3166, the code is one
that the standard leaves to its users, and `official` is false. Currencies are those of today; the amounts in the files
are in pounds sterling, whatever the country. Imports the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COUNTRIES", "CURRENCIES", "DATA_CURRENCY", "Country", "Currency", "country_by_name"]

DATA_CURRENCY = "GBP"
"""The currency of every price in the data set."""


@dataclass(frozen=True, slots=True)
class Country:
    """A country. `code` is ISO 3166-1 alpha-2, `currency` an ISO 4217 code."""

    name: str
    code: str
    currency: str
    official: bool = True


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency. `code` is ISO 4217; an amount in minor units has `minor_digits` decimals."""

    code: str
    name: str
    minor_digits: int


COUNTRIES: tuple[Country, ...] = (
    Country("Australia", "AU", "AUD"),
    Country("Austria", "AT", "EUR"),
    Country("Bahrain", "BH", "BHD"),
    Country("Belgium", "BE", "EUR"),
    Country("Bermuda", "BM", "BMD"),
    Country("Brazil", "BR", "BRL"),
    Country("Canada", "CA", "CAD"),
    Country("Channel Islands", "XJ", "GBP", official=False),
    Country("Cyprus", "CY", "EUR"),
    Country("Czech Republic", "CZ", "CZK"),
    Country("Denmark", "DK", "DKK"),
    Country("EIRE", "IE", "EUR"),
    Country("European Community", "EU", "EUR", official=False),
    Country("Finland", "FI", "EUR"),
    Country("France", "FR", "EUR"),
    Country("Germany", "DE", "EUR"),
    Country("Greece", "GR", "EUR"),
    Country("Hong Kong", "HK", "HKD"),
    Country("Iceland", "IS", "ISK"),
    Country("Israel", "IL", "ILS"),
    Country("Italy", "IT", "EUR"),
    Country("Japan", "JP", "JPY"),
    Country("Korea", "KR", "KRW"),
    Country("Lebanon", "LB", "LBP"),
    Country("Lithuania", "LT", "EUR"),
    Country("Malta", "MT", "EUR"),
    Country("Morocco", "MA", "MAD"),
    Country("Netherlands", "NL", "EUR"),
    Country("Nigeria", "NG", "NGN"),
    Country("Norway", "NO", "NOK"),
    Country("Poland", "PL", "PLN"),
    Country("Portugal", "PT", "EUR"),
    Country("RSA", "ZA", "ZAR"),
    Country("Saudi Arabia", "SA", "SAR"),
    Country("Singapore", "SG", "SGD"),
    Country("Spain", "ES", "EUR"),
    Country("Sweden", "SE", "SEK"),
    Country("Switzerland", "CH", "CHF"),
    Country("Thailand", "TH", "THB"),
    Country("USA", "US", "USD"),
    Country("United Arab Emirates", "AE", "AED"),
    Country("United Kingdom", "GB", "GBP"),
    Country("Unspecified", "ZZ", "GBP", official=False),
    Country("West Indies", "XW", "XCD", official=False),
)

CURRENCIES: tuple[Currency, ...] = (
    Currency("AED", "UAE dirham", 2),
    Currency("AUD", "Australian dollar", 2),
    Currency("BHD", "Bahraini dinar", 3),
    Currency("BMD", "Bermudian dollar", 2),
    Currency("BRL", "Brazilian real", 2),
    Currency("CAD", "Canadian dollar", 2),
    Currency("CHF", "Swiss franc", 2),
    Currency("CZK", "Czech koruna", 2),
    Currency("DKK", "Danish krone", 2),
    Currency("EUR", "Euro", 2),
    Currency("GBP", "Pound sterling", 2),
    Currency("HKD", "Hong Kong dollar", 2),
    Currency("ILS", "New Israeli shekel", 2),
    Currency("ISK", "Icelandic króna", 0),
    Currency("JPY", "Yen", 0),
    Currency("KRW", "Won", 0),
    Currency("LBP", "Lebanese pound", 2),
    Currency("MAD", "Moroccan dirham", 2),
    Currency("NGN", "Naira", 2),
    Currency("NOK", "Norwegian krone", 2),
    Currency("PLN", "Zloty", 2),
    Currency("SAR", "Saudi riyal", 2),
    Currency("SEK", "Swedish krona", 2),
    Currency("SGD", "Singapore dollar", 2),
    Currency("THB", "Baht", 2),
    Currency("USD", "US dollar", 2),
    Currency("XCD", "East Caribbean dollar", 2),
    Currency("ZAR", "Rand", 2),
)

_BY_NAME = {country.name.casefold(): country for country in COUNTRIES}


def country_by_name(name: str) -> Country | None:
    """The country with this name in the data set, ignoring case; None for an unknown one."""
    return _BY_NAME.get(name.strip().casefold())

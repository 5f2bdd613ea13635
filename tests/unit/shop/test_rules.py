"""What the shop takes as an id, a code, a name: the same pattern in its APIs and its files."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import StringConstraints, TypeAdapter, ValidationError

from freehold.errors import InvalidValue
from freehold_shop import fields, rules
from freehold_shop.money import Money
from freehold_shop.orders.contracts import OrderLine
from freehold_shop.orders.domain import total_of

_NEVER = ["", "a\x00", "a\n", "\x7f", "\x85", "\ud800", "x" * 65]


def _pydantic(pattern: str) -> StringConstraints:
    return StringConstraints(pattern=re.compile(pattern))


_CASES: list[tuple[str, Any, list[str], list[str]]] = [
    (rules.KEY, fields.Key, ["a", "..", "a/b", "é", "x" * 64], _NEVER),
    (rules.IDENTITY, fields.Identity, ["a", ".a", "a.b", "summary", ".."], [*_NEVER, "a/b", "é", " "]),
    (rules.NEW_IDENTITY, fields.NewIdentity, ["a", ".a", "a.b", "summary", "..."], [*_NEVER, ".", "..", "a/b"]),
    (rules.NEW_ORDER_ID, Annotated[str, _pydantic(rules.NEW_ORDER_ID)], ["a", "summary2"], [*_NEVER, "..", "summary"]),
    (
        rules.SKU,
        fields.Sku,
        ["85123A", "BANK CHARGES", "a/b", "a.b", "...", "é"],
        [
            *_NEVER,
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            "a//b",
            "/a",
            "a/",
            " a",
            "a ",
            " ",
            "%2e",
            "a/%252E.",
            "..%2Fa",
            "a\\b",
            "..;x",
        ],
    ),
    (rules.NAME, fields.Name, ["A", "Ada Lovelace", "é"], ["", " ", "a\x00", "a\nb", "\ud800", "x" * 501]),
    (rules.TEXT, fields.Text, ["", "1 High Street\nTown", "a\tb"], ["a\x00", "\x1b", "\ud800", "x" * 501]),
    (rules.EMAIL, fields.Email, ["a@b"], ["", "@b", "a@", "a@b\n", "a\x00@b", "a b@c", "a@" + "b" * 253]),
]


@pytest.mark.parametrize(("pattern", "kind", "good", "bad"), _CASES)
def test_a_rule_is_one_for_both_validators(pattern: str, kind: Any, good: list[str], bad: list[str]) -> None:
    compiled = re.compile(pattern)
    adapter: TypeAdapter[str] = TypeAdapter(kind)
    decoder = msgspec.json.Decoder(Annotated[str, msgspec.Meta(pattern=pattern)])
    for text in good:
        assert compiled.search(text), text
        assert adapter.validate_python(text) == text
        assert decoder.decode(msgspec.json.encode(text)) == text
    for text in bad:
        assert not compiled.search(text), repr(text)
        with pytest.raises(ValidationError):
            adapter.validate_python(text)


def test_sums_that_no_table_holds_are_refused() -> None:
    with pytest.raises(InvalidValue, match="pence"):
        total_of([OrderLine("A", 10**9, 10**9)], "GBP")
    with pytest.raises(InvalidValue, match="pence"):
        Money(rules.PENCE_MAX) + Money(1)
    with pytest.raises(InvalidValue, match="pence"):
        Money(-rules.PENCE_MAX) - Money(1)
    assert Money.total([Money(1), Money(2)], "GBP") == Money(3)

"""Values in the text of a statement. `integration/sql/test_literals` shows that the server reads them back."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import pytest

from freehold.adapters.postgres.literals import call_sql, is_writable, literal


class _Colour(StrEnum):
    RED = "r'd"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("", "''"),
        ("O'Brien", "'O''Brien'"),
        ("\\'", "E'\\\\'''"),
        (_Colour.RED, "'r''d'"),
        (b"", "E'\\\\x'"),
        (b"\x00'", "E'\\\\x0027'"),
        (UUID(int=1), "'00000000000000000000000000000001'"),
        (datetime(2026, 1, 2, tzinfo=UTC), "'2026-01-02T00:00:00+00:00'"),
        (True, "TRUE"),
        (0, "0"),
        (-(2**63), "'-9223372036854775808'"),
        (None, "NULL"),
        (["a'", "\\"], "ARRAY['a''',E'\\\\']"),
    ],
)
def test_a_value_is_written(value: object, written: str) -> None:
    assert literal(value) == written


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "ä\udfff"])
def test_what_is_no_text_of_postgresql_is_refused(text: str) -> None:
    assert not is_writable(text)
    with pytest.raises(ValueError, match="cannot store"):
        literal(text)


@pytest.mark.parametrize("value", [1.5, object(), {"a": 1}, bytearray(b"a"), ("a",)])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="has no literal"):
        literal(value)


def test_a_call_casts_where_it_is_told_to() -> None:
    assert call_sql("f", [[1], "x", None], ["bigint[]"]) == "SELECT f(ARRAY[1]::bigint[], 'x', NULL)"

"""PostgreSQL reads a value that is written into a statement as that value, whatever its settings are."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.adapters.postgres.literals import is_writable, literal

pytestmark = pytest.mark.servers

_TEXTS = st.one_of(st.text(), st.text(alphabet="\\'\"$;-/*x0\n\t\r%é\U0001f600")).filter(is_writable)
_SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@pytest.fixture(params=["on", "off"])
def conforming(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection with this value of `standard_conforming_strings`."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET standard_conforming_strings = {request.param}")
        yield connection


def _read(connection: psycopg.Connection, values: list[object], types: list[str]) -> tuple[object, ...]:
    selected = ", ".join(f"{literal(value)}::{kind}" for value, kind in zip(values, types, strict=True))
    with psycopg.ClientCursor(connection) as cursor:
        row = cursor.execute(f"SELECT {selected}".encode()).fetchone()  # one message of text, as asyncpg sends it
    assert row is not None
    return tuple(row)


@_SHARED
@given(texts=st.lists(_TEXTS, min_size=1, max_size=20), data=st.binary(), number=st.integers(-(2**63), 2**63 - 1))
def test_values_arrive_unchanged(conforming: psycopg.Connection, texts: list[str], data: bytes, number: int) -> None:
    identity = UUID(int=number & (2**64 - 1))
    values: list[object] = [*texts, texts, data, number, identity]
    types = [*(["text"] * len(texts)), "text[]", "bytea", "bigint", "uuid"]
    assert _read(conforming, values, types) == (*texts, texts, data, number, identity)


@_SHARED
@given(text=_TEXTS)
def test_a_text_ends_where_it_should(conforming: psycopg.Connection, text: str) -> None:
    assert _read(conforming, [text, "behind"], ["text", "text"]) == (text, "behind")

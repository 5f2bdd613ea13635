"""Numbers of declarations that are none, or have no end, are refused where they are declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import Any

import pytest

from freehold.composition import BreakerPolicy, Composition, Loader
from freehold.composition.cache import CachePolicy
from freehold.errors import DeclarationError

_BREAKER = ("window_seconds", "failure_ratio", "open_seconds", "probe_seconds", "slow_seconds")
_CACHE = (
    "ttl_seconds",
    "revalidate_seconds",
    "error_seconds",
    "negative_ttl_seconds",
    "retry_seconds",
    "load_seconds",
)


async def _load(_keys: Sequence[str]) -> Mapping[str, Any]:
    return {}


@pytest.mark.parametrize("number", [nan, inf, -inf])
@pytest.mark.parametrize("field", _BREAKER)
def test_of_a_circuit_breaker(field: str, number: float) -> None:
    numbers: dict[str, Any] = {field: number}
    with pytest.raises(DeclarationError):
        BreakerPolicy(**numbers)


@pytest.mark.parametrize("number", [nan, inf, -inf])
@pytest.mark.parametrize("field", _CACHE)
def test_of_a_cache(field: str, number: float) -> None:
    numbers: dict[str, Any] = {field: number}
    with pytest.raises(DeclarationError):
        CachePolicy(**numbers)


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_of_compositions_sources_and_loaders(number: float) -> None:
    with pytest.raises(DeclarationError):
        Composition[str]("view", budget_seconds=number)
    with pytest.raises(DeclarationError):
        Loader(_load, window_seconds=number)

"""Percentiles against the exact ones."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold_shop.replay.latencies import GROWTH, Latencies


@given(st.lists(st.floats(min_value=0.001, max_value=3_600.0), min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_percentiles_are_the_nearest_rank_to_one_percent(values: list[float], percent: int) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    found = latencies.percentile(percent)
    assert found is not None
    assert exact / GROWTH <= found <= exact * GROWTH * 1.0001


def test_nothing_was_measured() -> None:
    assert Latencies().percentile(50.0) is None


@pytest.mark.parametrize("extreme", [-5.0, 0.0, 1e9])
def test_what_lies_beyond_the_range_counts_as_its_end(extreme: float) -> None:
    latencies = Latencies()
    latencies.add(extreme)
    found = latencies.percentile(99.0)
    assert found is not None
    assert 0.0 < found < 90_000.0


def test_memory_does_not_grow() -> None:
    latencies = Latencies()
    random_source = random.Random(1)
    size = len(latencies._counts)
    for _ in range(50_000):
        latencies.add(random_source.expovariate(1.0))
    assert len(latencies._counts) == size
    assert latencies.count == 50_000

"""Shops for the tests of operations: one for a whole file, since starting one takes seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.shop.ops.customers import fill

from freehold_shop.supervisor.client import Shop, start_shop
from freehold_shop.supervisor.plan import Plan


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """An embedded shop with sample goods in it. A test that breaks it heals it."""
    yield from run_shop(Plan(tmp_path_factory.mktemp("shop")))


def run_shop(plan: Plan) -> Iterator[Shop]:
    """Start a shop, fill it, and stop it at the end."""
    running = asyncio.run(start_shop(plan))
    try:
        asyncio.run(fill(running))
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture
def state_directory(tmp_path: Path) -> Path:
    """A state directory for a shop of the test's own."""
    return tmp_path / "shop"

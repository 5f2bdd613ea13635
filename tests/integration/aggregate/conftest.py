from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.aggregate.bank import Bank, open_bank


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each engine."""
    match request.param:
        case "memory":
            return "memory://"
        case "sqlite":
            return f"sqlite:///{tmp_path}/bank.db"
        case _:
            return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def bank(url: str) -> AsyncIterator[Bank]:
    """A bank on it."""
    async with open_bank(url) as bank:
        yield bank

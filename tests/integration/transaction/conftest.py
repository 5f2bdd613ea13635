from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.transaction.trial import service
from tests.unit.runtime.trial import memory_broker, settings_for

from freehold import RunningService
from freehold.database import DatabaseOptions


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/trial.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[RunningService]:
    """The service, without its loops: what it stages stays where it is."""
    patient = DatabaseOptions(pool_timeout_seconds=120.0, lock_timeout_seconds=120.0, statement_timeout_seconds=120.0)
    settings = settings_for("trial", database=database_url, database_options=patient)
    async with RunningService(service(), settings, broker=memory_broker(), roles=()) as running:
        yield running

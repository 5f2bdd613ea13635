"""The databases that saga tests run on."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each engine."""
    match request.param:
        case "memory":
            return f"memory://{uuid4().hex}"
        case "sqlite":
            return f"sqlite:///{tmp_path}/orders.db"
        case _:
            url: str = request.getfixturevalue("postgres_url")
            return url

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.health.conditions import small_disk, tablespace


@pytest.fixture
def condition_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database as the row of `conditions.TABLE` needs it: `disk` and `tablespace` are on a small disk."""
    match request.param:
        case "postgres":
            yield request.getfixturevalue("postgres_url")
        case "tablespace":
            url = request.getfixturevalue("postgres_url")
            with tablespace(url, request.getfixturevalue("servers_directory")) as found:
                yield found
        case "disk":
            with small_disk(tmp_path / "disk") as place:
                yield f"sqlite:///{place}/service.db"
        case _:
            yield f"sqlite:///{tmp_path}/service.db"

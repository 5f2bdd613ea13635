"""Empty databases of the engines that read models are tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["MOST", "WITH_MARIADB", "empty_database"]

MOST: Final[list[Any]] = ["sqlite", pytest.param("postgres", marks=pytest.mark.servers)]
WITH_MARIADB: Final[list[Any]] = [*MOST, pytest.param("mariadb", marks=pytest.mark.servers)]
"""For what depends on how an engine defines tables."""


def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of one, of the engine that the fixture is asked for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bank.db"
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found

"""The engines that read models are tested on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.projection.engines import MOST, empty_database


@pytest.fixture(params=MOST)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)

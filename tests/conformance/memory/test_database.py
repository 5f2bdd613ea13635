from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.database import DatabaseConformance


class TestDatabaseOnMemory(OnMemory, DatabaseConformance):
    pass

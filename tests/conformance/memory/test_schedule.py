from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.schedule import ScheduleStoreConformance


class TestScheduleStoreOnMemory(OnMemory, ScheduleStoreConformance):
    pass

from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.schedule import ScheduleStoreConformance


class TestScheduleStoreOnSqlite(OnSqlite, ScheduleStoreConformance):
    pass


class TestScheduleStoreOnPostgres(OnPostgres, ScheduleStoreConformance):
    pass


class TestScheduleStoreOnMariaDb(OnMariaDb, ScheduleStoreConformance):
    pass

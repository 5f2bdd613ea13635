"""What a service in memory shows to Prometheus: right values, declared names, labels from declarations only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from tests.unit.runtime.trial import (
    Happened,
    Request,
    envelope_of,
    eventually,
    memory_broker,
    put,
    running,
    settings_for,
)

from freehold import Retry, RunningService, Service, Transaction
from freehold.deadletters.store import DEAD_LETTERS
from freehold.errors import DatabaseError, DeclarationError, Unavailable
from freehold.http import create_app
from freehold.metrics import Histogram, MetricFamily, MetricKind, Metrics, semantic_name
from freehold.outbox.store import OUTBOX
from freehold.pattern import Reading
from freehold.runtime.database_metrics import TABLES, operation_of, table_of
from freehold.runtime.patterns import PATTERNS
from freehold.telemetry import DatabaseReader, database_metrics, declared_families, exposed
from freehold.telemetry.service_metrics import of_process

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def _samples(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def _value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset({"service": "trial", **labels}.items())))


def _process(started: RunningService) -> bytes:
    """As `process_metrics`, without a thread."""
    return exposed(of_process(started))


def _names(text: bytes) -> set[str]:
    return {family.name for family in text_string_to_metric_families(text.decode())}


async def test_messages_are_counted_and_timed_by_their_declared_type() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened, retry=Retry(attempts=1))
    async def fail_for_three(event: Happened, tx: Transaction) -> None:
        if event.number == 3:
            raise ValueError("no")

    async with running(service, broker) as started:
        await put(broker, *(envelope_of(Happened(f"k{n}", n)) for n in range(5)))

        def count(name: str, **labels: str) -> float | None:
            return _value(_samples(_process(started)), name, **labels)

        await eventually(lambda: count("freehold_messages_total", runner="consumer", result="dead") == 1.0)
        delivered = "freehold_message_delivery_seconds_count"
        await eventually(lambda: count(delivered, type="elsewhere.happened") == 5.0)
        samples = _samples(_process(started))
        ok = _value(samples, "freehold_message_process_seconds_count", type="elsewhere.happened", status="ok")
        failed = _value(samples, "freehold_message_process_seconds_count", type="elsewhere.happened", status="error")
        assert ok is not None
        assert failed is not None
        assert ok >= 4
        assert failed >= 1
        assert _value(samples, "freehold_dead_letters_added_total", reason="attempts-exhausted") == 1.0
        assert _value(samples, "freehold_dead_letters_added_total", reason="invalid-body") == 0.0
        read = _samples(await database_metrics(started))
        assert _value(read, "freehold_dead_letters_open", reason="attempts-exhausted") == 1.0
        assert _value(read, "freehold_reading_up", reading="dead letters") == 1.0
        assert _value(read, "freehold_outbox_lag") == 0.0
        (open_letters,) = (await started.stores[DEAD_LETTERS].backlog()).values()
        assert open_letters.number == 1


async def test_every_series_is_declared_and_has_a_name_of_prometheus() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened)
    async def ignore(event: Happened, tx: Transaction) -> None:
        return None

    async with running(service, broker) as started:
        shown = {"process": _process(started), "database": await database_metrics(started)}
    for place, families in declared_families(PATTERNS).items():
        names = {name for family in families for name in (family.name, semantic_name(family)) if name}
        assert len({family.name for family in families}) == len(families)
        assert {name.removesuffix("_total") for name in names} >= _names(shown[place])


async def test_the_number_of_series_does_not_grow_with_messages() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened, retry=Retry(attempts=1))
    async def fail(event: Happened, tx: Transaction) -> None:
        tx.send(Request(event.key, event.number))
        if event.number % 2:
            raise ValueError(event.key)

    async with running(service, broker) as started:
        await put(broker, envelope_of(Happened("first", 1)))
        handled = started.stores[DEAD_LETTERS]
        await eventually(lambda: b'result="dead",runner="consumer",service="trial"} 1.0' in _process(started))
        before = set(_samples(_process(started)))
        await put(broker, *(envelope_of(Happened(f"key-{n}", n)) for n in range(40)))
        await eventually(lambda: b'result="dead",runner="consumer",service="trial"} 21.0' in _process(started))
        assert set(_samples(_process(started))) == before
        assert sum((await handled.count()).values()) == 21


async def test_what_cannot_be_read_has_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Service("trial"), memory_broker()) as started:
        reader = DatabaseReader(started.context, PATTERNS, limit_seconds=0.05, kept_seconds=0.0)
        assert _value(_samples(exposed(await reader.series())), "freehold_outbox_lag") == 0.0

        async def away() -> None:
            raise Unavailable("the database is away")

        async def hangs() -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(started.stores[OUTBOX], "stats", away)
        monkeypatch.setattr(started.stores[DEAD_LETTERS], "backlog", hangs)
        samples = _samples(exposed(await reader.series()))
        assert _value(samples, "freehold_outbox_lag") is None
        assert _value(samples, "freehold_dead_letters_open", reason="unknown-type") is None
        assert _value(samples, "freehold_reading_up", reading="outbox") == 0.0
        assert _value(samples, "freehold_reading_up", reading="dead letters") == 0.0
        assert _value(samples, "freehold_reading_up", reading="due scheduled messages") == 1.0
        assert (_value(samples, "freehold_reading_success_timestamp_seconds", reading="outbox") or 0.0) > 0.0


async def test_values_are_kept_for_some_seconds_and_concurrent_requests_share_a_read() -> None:
    reads: list[int] = []
    family = MetricFamily("trial_number", MetricKind.GAUGE, "A number.")

    async def read(_: object) -> dict[MetricFamily, dict[tuple[str, ...], float]]:
        reads.append(1)
        await asyncio.sleep(0)
        return {family: {(): len(reads)}}

    async with running(Service("trial"), memory_broker()) as started:
        reader = DatabaseReader(started.context, (), kept_seconds=3600.0)
        reader._readings.append(Reading("number", (family,), OUTBOX, read))
        await asyncio.gather(*(reader.series() for _ in range(5)))
        assert len(reads) == 1


async def test_the_application_shows_its_metrics_and_nothing_if_they_are_off() -> None:
    for on in (True, False):
        started = RunningService(Service("trial"), settings_for("trial", metrics=on), broker=memory_broker())
        async with started:
            app = create_app(started)
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://t") as client,
            ):
                answers = [await client.get(path) for path in ("/metrics", "/metrics/database")]
        assert [each.status_code for each in answers] == [200 if on else 404] * 2
        if on:
            assert all(each.headers["content-type"].startswith("text/plain; version=0.0.4") for each in answers)
            assert b"freehold_outbox_published_total" in answers[0].content
            assert b"freehold_outbox_lag" in answers[1].content


async def test_nothing_is_measured_where_metrics_are_off() -> None:
    service, broker = Service("trial"), memory_broker()

    @service.handles(Happened)
    async def ignore(event: Happened, tx: Transaction) -> None:
        return None

    async with running(service, broker, metrics=False) as started:
        assert started.context.metrics.enabled is False
        assert b"freehold_message_process_seconds" not in _process(started)


async def test_statements_are_timed_by_operation_and_table(tmp_path: Path) -> None:
    settings = settings_for("trial", database=f"sqlite:///{tmp_path}/trial.db")
    async with RunningService(Service("trial"), settings, broker=memory_broker(), roles=()) as started:
        async with started.transaction() as tx:
            tx.send(Request("a", 1))
            await tx.connection.execute(text("SELECT 'a-secret-text' AS secret"))
        with pytest.raises(DatabaseError):
            async with started.transaction() as tx:
                await tx.connection.execute(text("INSERT INTO nowhere VALUES (1)"))
        during = started.transaction()
        async with during:
            samples = _samples(_process(started))
        shown = _process(started)

    def count(operation: str, table: str, status: str = "ok") -> float:
        name = "database_query_duration_seconds_count"
        return _value(samples, name, operation=operation, table=table, status=status) or 0.0

    assert count("INSERT", "freehold_outbox") == 1.0
    assert count("SELECT", "other") >= 1.0
    assert count("INSERT", "other", "error") == 1.0
    assert count("COMMIT", "other") >= 1.0
    assert _value(samples, "database_connection_pool_size", status="used") == 1.0
    assert _value(_samples(shown), "database_connection_pool_size", status="used") == 0.0
    assert b"a-secret" not in shown
    semantic = {"db_operation_name": "INSERT", "db_collection_name": "other", "error_type": "_OTHER"}
    assert _value(samples, "db_client_operation_duration_seconds_count", **semantic) == 1.0


def test_a_histogram_counts_up_to_its_bounds() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    family = MetricFamily("trial_seconds", MetricKind.HISTOGRAM, "Seconds.", unit="seconds", bounds=(0.1, 1.0))
    samples = _samples(exposed([("trial", family, {(): histogram})]))
    assert [_value(samples, "trial_seconds_bucket", le=le) for le in ("0.1", "1.0", "+Inf")] == [2.0, 4.0, 5.0]
    assert _value(samples, "trial_seconds_sum") == pytest.approx(8.65)


@pytest.mark.parametrize(
    ("name", "kind", "unit", "labels"),
    [
        ("Upper", MetricKind.GAUGE, "", ()),
        ("counted", MetricKind.COUNTER, "", ()),
        ("a_total", MetricKind.GAUGE, "", ()),
        ("a_milliseconds", MetricKind.GAUGE, "seconds", ()),
        ("a", MetricKind.GAUGE, "", ("service",)),
    ],
)
def test_a_name_that_breaks_the_conventions_is_refused(
    name: str, kind: MetricKind, unit: str, labels: tuple[str, ...]
) -> None:
    with pytest.raises(DeclarationError):
        MetricFamily(name, kind, "Something.", unit=unit, labels=labels)


def test_labels_must_be_those_that_were_declared() -> None:
    family = MetricFamily("a_total", MetricKind.COUNTER, "Something.", labels=("type",))
    with pytest.raises(DeclarationError):
        Metrics().counter(family)


def test_the_tables_are_those_of_the_schemas() -> None:
    root = Path(__file__).parents[3] / "src" / "freehold" / "adapters"
    texts = [path.read_text(encoding="utf-8") for path in root.glob("*/schema/*.sql")]
    texts += [(root / "sql" / "engine" / "schema.py").read_text(encoding="utf-8")]
    made = {
        word.strip("(")
        for text in texts
        for line in text.splitlines()
        if line.lstrip(' "').startswith("CREATE TABLE")
        for word in line.split()
        if word.startswith("freehold_")
    }
    assert made <= TABLES


@pytest.mark.parametrize(
    ("statement", "operation", "table"),
    [
        ("SELECT x FROM freehold_outbox WHERE y = $1", "SELECT", "freehold_outbox"),
        ("  select * from freehold_event_tail($1)", "SELECT", "freehold_event"),
        ("UPDATE freehold_saga_journal SET a = 1", "UPDATE", "freehold_saga_journal"),
        ("INSERT INTO orders VALUES ($1)", "INSERT", "other"),
        ("EXPLAIN SELECT 1", "other", "other"),
        ("", "other", "other"),
    ],
)
def test_a_statement_has_bounded_labels(statement: str, operation: str, table: str) -> None:
    assert (operation_of(statement), table_of(statement)) == (operation, table)

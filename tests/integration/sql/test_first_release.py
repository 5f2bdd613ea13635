"""A database from before the first release, with work of every kind in flight, is upgraded: all goes on, and once.

How the database was made, and by which release, is told in `before/make_database.txt`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest
from tests.integration.sql.before.harbor import harbor

from freehold import RunningService, Settings, SystemClock
from freehold.aggregate.store import SNAPSHOTS
from freehold.audit.store import AUDIT
from freehold.consistency.store import PROGRESS
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter, DeadLetterStatus
from freehold.eventstore.store import EVENTS
from freehold.failures import ProcessCrashed
from freehold.idempotency.store import IDEMPOTENCY
from freehold.inbox.store import INBOX, IncomingMessage, ReceiveStatus
from freehold.leases.store import LEASES
from freehold.messages import decode_envelope
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.projection.replay_store import REPLAYS, ReplayState
from freehold.projection.store import CHECKPOINTS
from freehold.reconcile.store import RECONCILIATIONS
from freehold.runtime import DeadLetterActions, ProjectionOperations, ReplayOperations
from freehold.runtime.adapters import open_stores
from freehold.saga.document import read_hook_failure, read_progress
from freehold.saga.hooks import Hook
from freehold.saga.instance import Phase, WaitReason
from freehold.saga.store import SAGAS, SagaFilter, SagaStatus
from freehold.schedule.store import SCHEDULE
from freehold.sql import SQL
from freehold.testing import settled

pytestmark = pytest.mark.empty_database
_BEFORE = Path(__file__).parent / "before"
_LIMIT_SECONDS = 60.0
_BETWEEN_SECONDS = 0.05
_DONE = {
    "a": [1, 2, 3],
    "b": [1, 2, 3],
    "c": [1, 2, 3],
    "blocked": [1, 2],
    "calm": [1],
    "due": [1],
    "stormy": [1, 2],
}
_SAGAS = {"loaded": "completed", "waiting": "completed", "refused": "compensated", "fresh": "completed"}
_SINCE = "2026-11-30T10:00:00Z"
_TONS = {**{f"s{k}": sum(n for n in range(1, 31) if n % 4 == k) for k in range(4)}, "heavy": 109}

_REASONS = {
    "killed-consumer": "consumer-crashed",
    "not-retried": "non-retryable",
    "bad-body": "invalid-body",
    "unreadable": "invalid-envelope",
    "refused": "rejected-by-broker",
    "unknown-type": "unknown-type",
    "attempts-exhausted": "attempts-exhausted",
}
_FORMER_LETTERS = """\
INSERT INTO freehold_dead_letter (
    id, direction, consumer, topic, key, message_id, type, reason, error_type, detail, attempts, failed_at, status,
    document, ended_at
) SELECT '{id}', direction, consumer, topic, key, message_id, type, '{reason}', error_type, detail, attempts, failed_at,
    '{status}', document, failed_at FROM freehold_dead_letter WHERE status = 'dead';
INSERT INTO freehold_audit (at, actor, action, subject, reason)
SELECT failed_at, 'somebody', 'dead-letter.drop', '{id}', 'because' FROM freehold_dead_letter WHERE status = 'dead';
INSERT INTO freehold_inbox (consumer, receipt_key, barred, received_at)
SELECT 'harbor', 'unreadable:{id}', barred, received_at FROM freehold_inbox WHERE receipt_key = 'undo-1';
"""


_STEP_WORDS = ["waiting", "acting", "done", "refused", "doubtful", "undoing", "undone", "skipped"]
_PHASES = dict(zip(_STEP_WORDS, Phase, strict=True))
_WAIT_REASONS = {"acting": WaitReason.RUNNER, "undoing": WaitReason.OPERATOR}
_JOURNAL = [
    ("compensation-requested", "undo 1"),
    ("compensated", "no-effect"),
    ("attempts-exhausted", ""),
    ("save-failed", ""),
    ("late", "compensation done"),
    ("late", "action cancelled"),
    ("decided-terminate", ""),
    ("terminated", ""),
]
_ACTIONS = {
    "saga.abandon": "saga.terminate",
    "projection resume": "projection.stream-retry",
    "projection.resume": "projection.resume",
    "projection skip": "projection.stream-skip",
    "projection.abandon": "projection.cancel-rebuild",
    "reconcile: 3 rows repaired": "reconcile.repair",
}
_HOOK_FAILURE = {"step": "reserve", "hook": "make_undo", "error": "E", "place": "", "failures": 2, "since": _SINCE}


def _saga(number: int, key: str, status: str, document: Mapping[str, object], failure: str = "NULL") -> str:
    text = json.dumps({"format": 1, "mode": status, "steps": {}, **document}, separators=(",", ":"))
    return f"""\
INSERT INTO freehold_saga SELECT '{UUID(int=number)}', definition, 1, '{key}', correlation_id, '{status}', 1,
    {{binary}}'{{start}}{text.encode().hex()}', {failure}, due_at, created_at, updated_at
FROM freehold_saga WHERE key = 'waiting'"""


_FORMER_WORDS = [
    _saga(
        101,
        "left",
        "abandoned",
        {
            "state": {"ship": "left"},
            "steps": {
                **{word: {"phase": word} for word in _STEP_WORDS},
                "acting": {"phase": "acting", "awaiting": "caller", "rejected": True},
                "undoing": {"phase": "undoing", "awaiting": "person", "undo_round": 2},
            },
        },
        "'abandoned'",
    ),
    _saga(
        102,
        "failing",
        "running",
        {
            "format": 2,
            "state": {"ship": "failing\x00waiting", "tons": 1.5, "awaiting": None, "undo": True},
            "begun": 1,
            "hook_failure": {**_HOOK_FAILURE, "until": None, "outages": 0, "attention": True},
        },
    ),
    _saga(103, "unsaved", "running", {"state": {"ship": "unsaved"}, "trouble": 9, "due": _SINCE}),
    *(
        "INSERT INTO freehold_saga_journal (saga_id, at, step, what, attempt, detail)"
        f" SELECT '{UUID(int=101)}', at, '', '{what}', 1, '{detail}' FROM freehold_saga_journal WHERE ordinal = 1"
        for what, detail in [
            ("undo-requested", "undo 1"),
            ("undone", "empty"),
            ("given-up", ""),
            ("trouble", ""),
            ("late", "undo done"),
            ("late", "action barred"),
            ("decided-abandon", ""),
            ("abandoned", ""),
        ]
    ),
    *(
        "INSERT INTO freehold_audit (at, actor, action, subject, reason)"
        f" SELECT at, actor, '{action}', 'words', reason FROM freehold_audit WHERE ordinal = 1"
        for action in _ACTIONS
    ),
]
_FORMER_WORDS.append("""\
INSERT INTO freehold_parked SELECT projection, generation, partition, 'ship-left', 21, 1, event_id, type,
    'ProcessCrashed', detail, attempts, 2, parked_at, due_at
FROM freehold_parked WHERE stream = 'ship-heavy'""")
"""What the words were before: rows beside those of the dumps, which do not have all of them."""


class Later(SystemClock):
    """Two hours after the databases were made, and going on from there: what they wait for is due, and nothing old."""

    def __init__(self) -> None:
        self._ahead = datetime(2026, 11, 30, 12, 0, tzinfo=UTC) - datetime.now(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        connection = sqlite3.connect(tmp_path / "harbor.db")
        connection.executescript((_BEFORE / "sqlite.sql").read_text() + _former_letters())
        connection.close()
        return f"sqlite:///{tmp_path}/harbor.db"
    found: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(found, autocommit=True) as server:
        server.execute((_BEFORE / "postgres.sql").read_bytes())
        server.execute(f"SET search_path = public; {_former_letters()}".encode())
    return found


def _ids() -> dict[str, UUID]:
    """Of dead letters that have ended, by their former reasons."""
    return {reason: UUID(int=number) for number, reason in enumerate(_REASONS, start=1)}


def _former_letters() -> str:
    """Rows in former words that the program did not make."""
    return "".join(
        _FORMER_LETTERS.format(id=letter_id, reason=reason, status="dropped" if letter_id.int % 2 else "replayed")
        for reason, letter_id in _ids().items()
    )


async def test_what_is_kept_is_as_it_was(url: str) -> None:
    async with _upgraded(url) as stores:
        assert await stores.database.pending() == []
        assert await stores.database.defects() == []
        assert await stores.database.owner() == "harbor"
        assert (await stores[OUTBOX].stats()).pending == 12
        deferred = await stores[INBOX].deferred("harbor", 10)
        assert len(deferred) == 4
        compensations = [decode_envelope(each.document).compensates for each in deferred if each.key == "refused"]
        assert all(compensations)
        assert compensations
        assert [each.name for each in await stores[SCHEDULE].find(None, 10)] == ["harbor.arrived"] * 2
        async with stores.database.begin() as db_tx:
            stored = await stores[IDEMPOTENCY].claim(db_tx, "api", "key-1", "print")
            assert stored is not None
            assert (stored.status, stored.body, stored.token) == (201, b'{"ok":true}', "token-1")
            again = [
                IncomingMessage("action-1", "harbor.commands", "x"),
                IncomingMessage("undo-1", "harbor.commands", "x"),
            ]
            receipts = await stores[INBOX].receive(db_tx, "harbor", again)
            assert [each.status for each in receipts] == [ReceiveStatus.CANCELLED, ReceiveStatus.DUPLICATE]
        (lane,) = await stores[PROGRESS].progress("harbor", ["pier:1"])
        assert (lane.watermark, lane.appended_position) == (17, 3)
        snapshot = await stores[SNAPSHOTS].load("ship-s1", "vessel")
        assert snapshot is not None
        assert snapshot.data == b'{"tons":1}'
        assert [each.action for each in await stores[AUDIT].find("something", 10)] == ["did"]
        compared = await stores[RECONCILIATIONS].last("ships")
        assert compared is not None
        assert (compared.drifted, compared.inconclusive) == (2, 1)
        checkpoints = await stores[CHECKPOINTS].checkpoints("weights")
        assert {each.partition: each.interrupted for each in checkpoints} == {0: False, 1: True}
        (parked,) = await stores[CHECKPOINTS].parked("weights", 1)
        assert (parked.stream, parked.attempts) == ("ship-heavy", 1)
        assert await stores[EVENTS].high_water_mark() == 33


async def test_stored_words_are_those_of_the_first_release(url: str) -> None:
    _run(url, _FORMER_WORDS)
    async with _upgraded(url) as stores:
        sagas = {each.key: each for each in await stores[SAGAS].find(SagaFilter())}
        assert sagas["left"].status is SagaStatus.TERMINATED
        assert sagas["left"].failure == "terminated"
        assert {name: each.phase for name, each in read_progress(sagas["left"]).items()} == _PHASES
        reasons = {name: each.wait_reason for name, each in read_progress(sagas["left"]).items() if each.wait_reason}
        assert reasons == _WAIT_REASONS
        waiting = read_progress(sagas["refused"])["reserve"]
        assert (waiting.phase, waiting.wait_reason, waiting.policy_attempts) == (
            Phase.COMPENSATING,
            WaitReason.REPLY,
            1,
        )
        assert waiting.wait_until is not None
        failing = read_hook_failure(sagas["failing"])
        assert failing is not None
        assert (failing.hook, failing.wait_until) == (Hook.MAKE_COMPENSATION, None)
        unsaved = read_hook_failure(sagas["unsaved"])
        assert unsaved is not None
        assert (unsaved.failures, unsaved.attention) == (9, True)
        document = msgspec.json.decode(sagas["failing"].document)
        assert document.keys() == {"format", "machine_status", "state", "steps", "started_attempts", "hook_failure"}
        assert document["state"] == {"ship": "failing\x00waiting", "tons": 1.5, "awaiting": None, "undo": True}
        journal = await stores[SAGAS].journal(sagas["left"].id)
        assert [(each.what, each.detail) for each in journal] == _JOURNAL
        assert [each.what for each in await stores[SAGAS].journal(sagas["refused"].id)][-1] == "compensation-requested"
        audited = [*await stores[AUDIT].find("words", 20)][::-1]
        assert [each.action for each in audited] == list(_ACTIONS.values())
        assert audited[-1].reason == "because (3 rows repaired)"
        assert await stores[SAGAS].prune(0.0, 10) == 2
        (parked,) = await stores[CHECKPOINTS].parked("weights", stream="ship-left")
        assert (parked.error, parked.started_attempts) == (ProcessCrashed.__name__, 2)


async def test_former_words_are_renamed_where_they_are_stored(url: str) -> None:
    async with _upgraded(url) as stores:
        (dead,) = await stores[DEAD_LETTERS].find(DeadLetterFilter())
        assert dead.reason == "non-retryable"
        for former, letter_id in _ids().items():
            (letter,) = await stores[DEAD_LETTERS].find(DeadLetterFilter(status=None, id=letter_id))
            assert letter.reason == _REASONS[former]
            assert letter.status.value == ("discarded" if letter_id.int % 2 else "replayed")
            assert [each.action for each in await stores[AUDIT].find(str(letter_id), 10)] == ["dead-letter.discard"]
            assert await stores[INBOX].received_at("harbor", f"invalid-envelope:{letter_id}") is not None
        async with stores.database.begin() as db_tx:
            await stores[DEAD_LETTERS].mark(db_tx, dead.id, DeadLetterStatus.DISCARDED, None)


async def test_everything_goes_on_and_is_done_once(url: str) -> None:
    async with _upgraded(url) as stores:
        held = {each.name: each.token for each in await stores[LEASES].list("outbox/")}
    async with RunningService(harbor, _settings(url), clock=Later()) as running:
        letters = DeadLetterActions(running.context)
        (dead,) = await letters.find(DeadLetterFilter())
        await letters.replay(dead.id, actor="somebody", reason="calm again")
        await settled(running, timeout_seconds=_LIMIT_SECONDS)
        await _until(lambda: _nothing_is_parked(running.stores))
        await _finish_replay(running)
        assert await _sagas(running.stores) == _SAGAS
        assert await _done(running.stores) == {
            **{ship: [f"arrived {n}" for n in numbers] for ship, numbers in _DONE.items()},
            "lost": ["arrived -1"],
            "loaded": ["reserved", "loaded"],
            "waiting": ["reserved", "loaded"],
            "refused": ["reserved", "released"],
            "fresh": ["reserved", "loaded"],
        }
        assert await _tons(running.stores, "tonnage") == _TONS
        assert await _tons(running.stores, "tonnage__r1") == _TONS
        assert [each.name for each in await running.stores[SCHEDULE].find(None, 10)] == ["harbor.arrived"]
        assert not await running.stores[DEAD_LETTERS].find(DeadLetterFilter())
        now = {each.name: each.token for each in await running.stores[LEASES].list("outbox/")}
        assert all(now[name] > token for name, token in held.items()), "another took the leases over"
        assert await running.stores.database.defects() == []


def _run(url: str, statements: Sequence[str]) -> None:
    """Before the upgrade, without Freehold."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            for statement in statements:
                file.execute(statement.replace("{binary}'{start}", "X'"))
        return
    with psycopg.connect(url, autocommit=True) as server:
        for statement in statements:
            server.execute(statement.replace("{binary}'{start}", "'\\x").encode())


def _settings(url: str) -> Settings:
    return Settings.load("harbor", database=url, broker="memory://", environ={}, poll_seconds=0.1, lease_seconds=1.0)


@asynccontextmanager
async def _upgraded(url: str) -> AsyncIterator[Stores]:
    stores = open_stores(url, {}, harbor.migrations, Later())
    await stores.database.open()
    assert await stores.database.defects() == []
    waiting = await stores.database.pending()
    assert "freehold/040-first-release" in waiting
    assert await stores.database.upgrade("harbor") == waiting
    yield stores
    await stores.database.close()


async def _finish_replay(running: RunningService) -> None:
    projections = ProjectionOperations(running.context)
    (begun,) = await running.stores[REPLAYS].find("weights")
    assert (begun.state, begun.position, begun.interrupted) == (ReplayState.RUNNING, 10, True)
    async with asyncio.timeout(_LIMIT_SECONDS):
        stands = [each async for each in ReplayOperations(projections, Later()).steps(begun)]
    assert (stands[-1].state, stands[-1].applied, stands[-1].failed) == (ReplayState.DONE, 33, 0)


async def _nothing_is_parked(stores: Stores) -> bool:
    return not await stores[CHECKPOINTS].parked("weights", 1)


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Looked at again, not woken: a projection tells nobody that a stream goes on."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while not await reached() and time.monotonic() < deadline:  # noqa: ASYNC110 - as above
        await asyncio.sleep(_BETWEEN_SECONDS)
    assert await reached()


async def _sagas(stores: Stores) -> dict[str, str]:
    return {each.key: each.status.value for each in await stores[SAGAS].find(SagaFilter())}


async def _done(stores: Stores) -> dict[str, list[str]]:
    """In the order in which it was done, for each ship."""
    found: dict[str, list[str]] = {}
    for ship, what in await _rows(stores, "SELECT ship, what FROM done"):
        found.setdefault(str(ship), []).append(str(what))
    return found


async def _tons(stores: Stores, table: str) -> dict[str, int]:
    rows = await _rows(stores, f"SELECT ship, tons FROM {table}")
    assert max(Counter(ship for ship, _ in rows).values()) == 1
    return {str(ship): int(str(tons)) for ship, tons in rows}


async def _rows(stores: Stores, sql: str) -> Sequence[Sequence[object]]:
    async with stores[SQL].direct() as direct:
        found: Sequence[Sequence[object]] = await direct.fetch(sql)
        return found

"""`freehold outbox resend` on real databases: what it puts back, what it refuses, and what it writes down."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.cli.till import SaleClosed, till
from tests.integration.cli.work import Project, ran
from tests.unit.cli.typing_in import Typed
from tests.unit.runtime.trial import envelope_of

from freehold.broker import OutgoingMessage
from freehold.conformance.outbox import take_partitions
from freehold.messages import decode_envelope, encode_envelope
from freehold.outbox import operations
from freehold.outbox.store import OUTBOX, LossState

pytestmark = pytest.mark.timeout(240)
COMMAND = [sys.executable, "-m", "freehold.cli.main"]


async def _confirmed(project: Project, *cents: int, keep: bool = True) -> None:
    """Publish sales of the till, as far as its outbox goes."""
    async with project.stores(till) as stores:
        envelopes = [envelope_of(SaleClosed(f"sale {each % 7}", each)) for each in cents]
        async with stores.database.begin() as db_tx:
            messages = [OutgoingMessage(each.id, each.topic, each.key, encode_envelope(each)) for each in envelopes]
            await stores[OUTBOX].stage(db_tx, messages)
        leases = await take_partitions(stores)
        removed = 0
        while rows := (await stores[OUTBOX].fetch(leases, len(cents))).rows:
            removed += await stores[OUTBOX].remove(leases, rows, keep=LossState() if keep else None)
        assert removed == len(cents)


def _waiting(project: Project) -> list[int]:
    """What the outbox of the till holds, in its order."""

    async def read() -> list[int]:
        async with project.stores(till) as stores:
            rows = (await stores[OUTBOX].fetch(await take_partitions(stores), 10_000)).rows
            bodies = [decode_envelope(row.message.document).body for row in rows]
            return [int(body.rpartition(b":")[2].rstrip(b"}")) for body in bodies]

    return asyncio.run(read())


def _at(seconds_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


def test_what_is_kept_is_put_back_once_and_told(project: Project, typed: Typed) -> None:
    ran(_confirmed(project, 1, 2, 3))
    assert typed("outbox", "resend").code == 2
    assert typed("outbox", "--json", "resend", "--reason", "x").code == 2
    answer = typed("outbox", "resend", "--reason", "broker was emptied", "--json")
    assert answer.code == 0
    sent = {each["service"]: each["sent_again"] for each in answer.document["services"]}
    assert sent == {"till": 3, "depot": 0}
    assert _waiting(project) == [1, 2, 3]
    again = typed("outbox", "resend", "--reason", "once more", "--service", "till")
    assert (again.code, "keeps no confirmed messages" in again.err) == (0, True)
    assert _waiting(project) == [1, 2, 3]
    trail = typed("audit", "--subject", "till", "--json").document["actions"]
    assert [(each["action"], each["reason"]) for each in trail] == [
        ("outbox.resend", "once more"),
        ("outbox.resend", "broker was emptied"),
    ]


def test_a_time_chooses_what_is_sent_again(project: Project, typed: Typed) -> None:
    ran(_confirmed(project, 1))
    time.sleep(0.01)
    between = _at(0)
    time.sleep(0.01)
    ran(_confirmed(project, 2))
    answer = typed("outbox", "resend", "-s", "till", "--since", between, "--reason", "x", "--json")
    assert [each["sent_again"] for each in answer.document["services"]] == [1]
    assert _waiting(project) == [2]
    assert typed("outbox", "resend", "-s", "till", "--since", "2h", "--reason", "x").code == 0
    assert _waiting(project) == [1, 2]


@pytest.mark.parametrize("since", ["nan", "2", "-1h", "yesterday", "2999-01-01T00:00:00Z", "999999999d"])
def test_a_time_that_is_none_is_wrong_usage(typed: Typed, since: str) -> None:
    refused = typed("outbox", "resend", "--since", since, "--reason", "x")
    assert (refused.code, "Traceback" in refused.err) == (2, False)


def test_a_time_before_the_receipts_is_refused(project: Project, typed: Typed) -> None:
    """What was handled then would be handled a second time."""
    ran(_confirmed(project, 1))
    refused = typed("outbox", "resend", "--since", "9d", "--reason", "x", "--json")
    assert (refused.code, "dedup_window_seconds" in refused.document["error"]["message"]) == (2, True)
    assert _waiting(project) == []
    assert typed("audit", "--json").document["actions"] == []


def test_one_that_is_killed_is_finished_by_the_next(project: Project, typed: Typed) -> None:
    """Nothing is lost and nothing doubled, wherever it was."""
    count = 2 * operations._STEP + 3
    ran(_confirmed(project, *range(count)))
    process = subprocess.Popen(
        [*COMMAND, "outbox", "resend", "--reason", "x"], env=project.environment(), stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while not _waiting(project) and process.poll() is None:
        assert time.monotonic() < end
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    assert typed("outbox", "resend", "--reason", "x").code == 0
    assert _waiting(project) == list(range(count))

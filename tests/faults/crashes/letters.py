"""Messages that fail: refused by the broker, given up, edited and replayed, discarded, dropped, in conflict; and a
broker that loses its log, in a process that is killed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec
from tests.faults.crashes.campaign import KeptScenario

from freehold.adapters.embedded import broker as embedded
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import ConcurrencyConflict
from freehold.inbox import pattern as inbox_pattern
from freehold.inbox.store import INBOX
from freehold.leases.store import LEASES
from freehold.messages import event
from freehold.migrations import Migration
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.operations import Resend
from freehold.outbox.store import LEASE_PREFIX
from freehold.policy import Retry
from freehold.runtime import RunningService, Runtime
from freehold.service import Service
from freehold.settings import Settings
from freehold.sql import SQL
from freehold.testing import settled
from freehold.transaction import Transaction
from freehold_shop.users.contracts import CUSTOMERS

__all__ = ["Letters"]

_ACTOR: Final = "tests"
_REASON: Final = "a crash point"
_FAST: Final = Retry(attempts=2, delay_seconds=0.05)
_PATIENT: Final = Retry(attempts=400, delay_seconds=0.05, delay_seconds_max=0.1)
_LONG: Final = "x" * 20_000
_QUIET_SECONDS: Final = 150.0
_CALLS_OF_CONSUMER: Final = 20
"""More than the consumer makes of one message: then it is deferred."""
_NOTE: Final = "INSERT INTO noted VALUES ($1)"


@event("sender.told", key="key")
@dataclass(frozen=True, slots=True)
class Told:
    """What most messages are. `fails` until an operator has edited it."""

    key: str
    text: str
    fails: bool = False


@event("sender.clashed", key="key")
@dataclass(frozen=True, slots=True)
class Clashed:
    """In conflict until a file says otherwise."""

    key: str


@event("sender.outdated", key="key")
@dataclass(frozen=True, slots=True)
class Outdated:
    """Deferred while its handler fails, and dropped once there is no handler any more."""

    key: str


_MESSAGES: Final = {
    "fine": Told("a", "fine"),
    "mended": Told("b", "mended", fails=True),
    "discarded": Told("c", "discarded", fails=True),
    "long": Told("d", _LONG),
    "clashed": Clashed("e"),
    "outdated": Outdated("f"),
}


class Letters(KeptScenario):
    """A sender and a taker of messages."""

    life_seconds = 240.0

    async def life(self, place: Path) -> None:
        """Send everything, act as the operator, lose the log, and send again."""
        inbox_pattern._VISIBILITY_MARGIN_SECONDS = 0.5  # type: ignore[misc] # a claim of a dead process ends
        embedded._MESSAGE_BYTES_MAX = 10_000  # type: ignore[misc] # a message that the broker refuses is larger
        if not (place / "dropped").exists():
            await self._until_deferred(place)
            (place / "dropped").touch()
        if not (place / "lost").exists():
            async with _runtime(place) as runtime:
                await self._operate(runtime["sender"], runtime["taker"])
                await settled(runtime, timeout_seconds=_QUIET_SECONDS)
            for ending in ("", "-wal", "-shm"):
                (place / f"broker.db{ending}").unlink(missing_ok=True)
            (place / "lost").touch()
        async with _runtime(place) as runtime:
            sender = runtime["sender"]
            if not (place / "resent").exists():
                await _until(lambda: _has_lost(sender))
            await _send_once(sender, "again", Told("a", "again"))
            await settled(runtime, timeout_seconds=_QUIET_SECONDS)
            resend = Resend(sender.context)
            plan = await resend.plan()
            if plan.lost or not (place / "resent").exists():
                await resend.run(plan, actor=_ACTOR, reason=_REASON)
                (place / "resent").touch()
            await settled(runtime, timeout_seconds=_QUIET_SECONDS)

    async def _until_deferred(self, place: Path) -> None:
        """With the former taker, and a second process of it, until what it cannot handle is deferred."""
        conflict = asyncio.Event()
        async with _runtime(place, former=True, conflict=conflict) as runtime:
            sender, taker = runtime["sender"], runtime["taker"]
            for name, message in _MESSAGES.items():
                await _send_once(sender, name, message)
            settings = _settings("taker", place)
            async with RunningService(_taker(place, former=True, conflict=conflict), settings):
                await _until(lambda: _is_deferred(taker, "sender.outdated"))
            if not (place / "agreed").exists():
                await asyncio.wait_for(conflict.wait(), _QUIET_SECONDS)
                await taker.pause("deferred")
                (place / "agreed").touch()
                await taker.resume("deferred")
            await self._forget_member(sender)

    async def _forget_member(self, sender: RunningService) -> None:
        """Delete the relay's lease as a member, as others do of one that was frozen, and leave one of a dead member."""
        leases = sender.stores[LEASES]
        await leases.ensure([f"{LEASE_PREFIX}member/dead"])
        members = [each.name for each in await leases.list(f"{LEASE_PREFIX}member/")]
        await leases.delete([name for name in members if not name.endswith("/dead")])
        await _until(lambda: _has_no(sender, f"{LEASE_PREFIX}member/dead"))

    async def _operate(self, sender: RunningService, taker: RunningService) -> None:
        """Mend one message, and discard the others, once they have been given up."""
        await _until(lambda: _letters_are(taker, 2))
        await _until(lambda: _letters_are(sender, 1))
        for running in (sender, taker):
            actions = DeadLetterActions(running.context)
            for letter in await actions.find(DeadLetterFilter()):
                with suppress(ConcurrencyConflict):  # an earlier life has done it
                    if letter.key == "b":
                        body = asdict(Told("b", "mended"))
                        await actions.edit(letter.id, msgspec.json.encode(body), actor=_ACTOR, reason=_REASON)
                        await actions.replay(letter.id, actor=_ACTOR, reason=_REASON)
                    else:
                        await actions.discard(letter.id, actor=_ACTOR, reason=_REASON)

    async def check(self, place: Path) -> Sequence[str]:
        """Each message was handled once, or an operator has decided on it."""
        async with (
            RunningService(_taker(place), _settings("taker", place), roles=()) as taker,
            RunningService(_sender(), _settings("sender", place), roles=()) as sender,
        ):
            async with taker.stores[SQL].direct() as sql:
                noted = sorted(row[0] for row in await sql.fetch("SELECT what FROM noted"))
            dead = [
                letter.key
                for running in (sender, taker)
                for letter in await running.stores[DEAD_LETTERS].find(DeadLetterFilter())
            ]
            lost = [*await sender.stores[BROKER_LOGS].lost()]
            deferred = (await taker.stores[INBOX].stats()).pending
        found = {
            "noted": (noted, ["again", "clashed", "fine", "mended"]),
            "dead letters": (dead, []),
            "open losses": (lost, []),
            "deferred": (deferred, 0),
        }
        return [f"{what}: {is_} and not {should}" for what, (is_, should) in found.items() if is_ != should]


def _sender() -> Service:
    table = Migration("001-sent", {"": ["CREATE TABLE sent_once (name text PRIMARY KEY)"]})
    return Service("sender", migrations=[table])


def _taker(place: Path, *, former: bool = False, conflict: asyncio.Event | None = None) -> Service:
    service = Service("taker", migrations=[Migration("001-noted", {"": ["CREATE TABLE noted (what text)"]})])
    service.replicates(CUSTOMERS, table="customer_copy", every_seconds=0.5)

    @service.handles(Told, retry=_FAST)
    async def note(message: Told, tx: Transaction) -> None:
        if message.fails:
            raise ValueError("planned")
        await tx.sql.execute(_NOTE, (message.text,))

    calls = itertools.count()

    @service.handles(Clashed, retry=_PATIENT)
    async def clash(message: Clashed, tx: Transaction) -> None:
        if not (place / "agreed").exists():
            if conflict is not None and next(calls) >= _CALLS_OF_CONSUMER:
                conflict.set()
            raise ConcurrencyConflict("planned")
        await tx.sql.execute(_NOTE, ("clashed",))

    if former:

        @service.handles(Outdated, retry=_PATIENT)
        async def fail(message: Outdated, tx: Transaction) -> None:
            raise ValueError("planned")

    return service


def _runtime(place: Path, *, former: bool = False, conflict: asyncio.Event | None = None) -> Runtime:
    services = _sender(), _taker(place, former=former, conflict=conflict)
    return Runtime(*services, settings={each.name: _settings(each.name, place) for each in services})


def _settings(name: str, place: Path) -> Settings:
    return Settings.load(
        name,
        environ={},
        database=f"sqlite:///{place}/{name}.db?synchronous=normal",
        broker=f"embedded:///{place}/broker.db?synchronous=normal&keep=1",
        lease_seconds=0.4,
        poll_seconds=0.1,
        outbox_sent_retention_seconds=3600.0,
        handler_timeout_seconds=5.0,
        database_options={"lock_timeout_seconds": 30.0, "partitions": 2},
        broker_options={"partitions": 2},
    )


async def _send_once(sender: RunningService, name: str, message: object) -> None:
    async with sender.transaction() as tx:
        if await tx.sql.execute("INSERT INTO sent_once VALUES ($1) ON CONFLICT DO NOTHING", (name,)):
            tx.publish(message)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_QUIET_SECONDS):
        while not await holds():  # noqa: ASYNC110 - a database wakes nobody
            await asyncio.sleep(0.02)


async def _is_deferred(taker: RunningService, kind: str) -> bool:
    kept = await taker.stores[INBOX].deferred("taker", 10)
    return any(kind.encode() in each.document for each in kept)


async def _letters_are(running: RunningService, number: int) -> bool:
    found = await running.stores[DEAD_LETTERS].find(DeadLetterFilter(status=None))
    return len(found) >= number


async def _has_lost(sender: RunningService) -> bool:
    return bool(await sender.stores[BROKER_LOGS].lost())


async def _has_no(running: RunningService, lease: str) -> bool:
    return lease not in [each.name for each in await running.stores[LEASES].list(lease)]

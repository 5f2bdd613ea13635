"""Transfers: sagas of calls alone, several in one transaction, so that their outcomes are recorded in groups."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.simulated.clients import RARE_POLLS, persistent, saga_status

from freehold import Rejected, Saga, Service, Transaction
from freehold.errors import NotFound, Unavailable
from freehold.ids import derive_id
from freehold.saga import CallContext, call
from freehold.testing import Scenario, World

__all__ = ["Transfers"]

_GROUPS: Final = 6
_OF_A_GROUP: Final = 3
_CALL_SECONDS: Final = 0.3
_LIMIT_SECONDS: Final = 2.0
_HANGING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """The state of a transfer. What the calls returned is merged into it."""

    transfer: str
    refused: bool
    debit_id: str = ""
    check_id: str = ""


class Bank:
    """A provider, whose state no crash of ours undoes: it acts once for a key, and a cancelled key never."""

    def __init__(self) -> None:
        self.balance: Counter[str] = Counter()
        self.done: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.refused_late = 0

    def act(self, key: str, account: str, cents: int) -> None:
        """Change an account, once for each key."""
        self.requests[key] += 1
        if key in self.cancelled:
            self.refused_late += 1
            raise Rejected("cancelled")
        if key not in self.done:
            self.done[key] = account
            self.balance[account] += cents

    def undo(self, key: str, account: str, cents: int) -> None:
        """Undo what was done with a key, and refuse it if it comes later."""
        if key in self.done and key not in self.cancelled:
            self.balance[account] -= cents
        self.cancelled.add(key)


class Transfers(Scenario):
    """Each transfer takes from one account and gives to another, or does neither."""

    seconds = 25.0
    settings: Mapping[str, Any] = RARE_POLLS

    def __init__(self) -> None:
        self.bank = Bank()

    def services(self) -> Sequence[Service]:
        bank = self.bank

        async def debit(state: Transfer, context: CallContext) -> dict[str, str]:
            await asyncio.sleep(_CALL_SECONDS)
            bank.act(context.idempotency_key, f"{state.transfer} from", -1)
            if context.attempt == 1 and state.transfer.endswith("1"):
                await asyncio.sleep(_HANGING_SECONDS)  # it is done, and the answer does not come in time
            await asyncio.sleep(_CALL_SECONDS)
            return {"debit_id": f"debit {state.transfer}"}

        async def undo_debit(state: Transfer, context: CallContext) -> None:
            await asyncio.sleep(_CALL_SECONDS)
            bank.undo(str(context.action_key), f"{state.transfer} from", -1)

        async def check(state: Transfer, context: CallContext) -> dict[str, str]:
            await asyncio.sleep(_CALL_SECONDS * 1.5)
            if state.refused:
                raise Rejected("suspicious")
            return {"check_id": f"check {state.transfer}"}

        async def credit(state: Transfer, context: CallContext) -> None:
            assert state.debit_id == f"debit {state.transfer}", f"{state.transfer}: {state.debit_id}"
            assert state.check_id == f"check {state.transfer}", f"{state.transfer}: {state.check_id}"
            await asyncio.sleep(_CALL_SECONDS)
            bank.act(context.idempotency_key, f"{state.transfer} to", 1)

        class Move(Saga[Transfer], name="wallets.move", version=1, key="transfer"):
            debited = call(debit, compensation=undo_debit, timeout_seconds=_LIMIT_SECONDS)
            checked = call(check, no_compensation=True, timeout_seconds=_LIMIT_SECONDS)
            credited = call(credit, pivot=True, after=(debited, checked), timeout_seconds=_LIMIT_SECONDS)

        wallets = Service("wallets")
        wallets.orchestrates(Move)
        self.move = Move
        return [wallets]

    async def work(self, world: World) -> None:
        for group in range(_GROUPS):
            transfers = [
                Transfer(f"{group}-{number}", world.draw.random() < 0.3, "", "") for number in range(_OF_A_GROUP)
            ]

            async def start(tx: Transaction, transfers: Sequence[Transfer] = transfers) -> None:
                for each in transfers:
                    await self.move.start(tx, each, saga_id=derive_id("transfer", each.transfer))

            if group % 3 != 2:
                await persistent(world, "wallets", start)
            else:
                with contextlib.suppress(Unavailable):  # this client does not try again
                    await world.transact("wallets", start)
            await world.sleep(world.draw.uniform(0.0, 4.0))

    async def check(self, world: World) -> None:
        bank = self.bank
        world.sometimes("a bank was asked twice", max(bank.requests.values(), default=0) > 1)
        for transfer in (f"{group}-{number}" for group in range(_GROUPS) for number in range(_OF_A_GROUP)):
            try:
                status: str = (await saga_status(world, "wallets", derive_id("transfer", transfer))).value
            except NotFound:
                status = "not started"
            world.sometimes(f"a transfer is {status}")
            moved = (bank.balance[f"{transfer} from"], bank.balance[f"{transfer} to"])
            wanted = {"completed": (-1, 1), "compensated": (0, 0), "not started": (0, 0)}.get(status)
            assert moved == wanted, f"{transfer} is {status} and moved {moved}"

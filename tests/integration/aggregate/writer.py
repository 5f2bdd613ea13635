"""Withdraws from one account, one unit a command, in two tasks: `writer.py URL TIMES`. Prints how often it could."""

from __future__ import annotations

import asyncio
import sys

from tests.integration.aggregate.bank import open_bank
from tests.unit.aggregate.shapes import ACCOUNT, Overdrawn, Withdraw

from freehold.aggregate import Repository, SnapshotPolicy
from freehold.policy import Retry

RETRY = Retry(attempts=100, delay_seconds=0.002, delay_seconds_max=0.05)
REPOSITORY = Repository(ACCOUNT, snapshots=SnapshotPolicy(every=7), publish=True)


async def main(url: str, times: int) -> None:
    """Withdraw so often in each of two tasks."""
    async with open_bank(url) as bank:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)

        async def withdraw() -> int:
            count = 0
            for _ in range(times):
                try:
                    await REPOSITORY.handle(bank.transactions, "shared", Withdraw(1), retry=RETRY)
                    count += 1
                except Overdrawn:
                    continue
            return count

        sys.stdout.write(f"{sum(await asyncio.gather(withdraw(), withdraw()))}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

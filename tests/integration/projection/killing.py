"""A read model with an event that ends the process that handles it: `python -m … URL` runs it until nothing is left to
do. Deposits of `DEADLY` end the process as the environment's `BANK_END` says: not at all, by `exit` or by `kill`; after
as many events as `BANK_DOOM` says it is killed whatever they are.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from tests.integration.projection.dying import Doom
from tests.integration.projection.models import Deposited, ReadModel, caught_up, read_model, settings_for

from freehold import Retry, RunningService
from freehold.projection.declaration import ProjectionContext
from freehold.projection.store import CHECKPOINTS

__all__ = ["ATTEMPTS", "DEADLY", "bank", "deadly_model"]

ATTEMPTS: Final = 3
DEADLY: Final = 666
_ENDS: Final[dict[str, Callable[[], object]]] = {
    "exit": lambda: os._exit(11),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def deadly_model(end: Callable[[], object] | None = None, doom: Doom | None = None) -> ReadModel:
    """Deposits of `DEADLY` call `end` when they have written; without one they are deposits like others."""
    model = read_model(retry=Retry(attempts=ATTEMPTS, delay_seconds=0.05), batch_limit=50, doom=doom)
    handler = model.projection.handlers[Deposited]

    async def deadly(event: Deposited, write: ProjectionContext) -> None:
        await handler(event, write)
        if event.amount == DEADLY and end is not None:
            end()

    model.projection.handlers[Deposited] = deadly
    return model


_model = deadly_model(_ENDS.get(os.environ.get("BANK_END", "")), Doom(int(os.environ.get("BANK_DOOM", "0"))))
bank = _model.service


async def _nothing_left(running: RunningService) -> bool:
    waiting = await running.stores[CHECKPOINTS].parked()
    return await caught_up(running, _model) and all(each.due_seconds is None for each in waiting)


async def _main(url: str) -> None:
    async with RunningService(bank, settings_for(url, lease_seconds=0.5, poll_seconds=0.05)) as running:
        while not await _nothing_left(running):  # noqa: ASYNC110 - looks as from outside
            await asyncio.sleep(0.05)  # the process ends meanwhile, or is done


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))

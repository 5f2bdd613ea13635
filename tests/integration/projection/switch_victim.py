"""A service that rebuilds a read model and is killed at a step of the switch: `python -m … URL STEP`. MariaDB only.

A step is one of `STEPS`; without one the process switches, and says so.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, Final

import pytest
from tests.integration.projection import rebuilding

from freehold.adapters.mariadb.read_models import MariaDbReadModelStore

__all__ = ["STEPS"]

STEPS: Final = ("both", "row", "commit", "view")
"""Killed when the view reads both sets, when the row is changed, after the commit, when the view reads one again."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(step: str, patch: pytest.MonkeyPatch) -> None:
    define, show, settle = (
        MariaDbReadModelStore._define,
        MariaDbReadModelStore.show,
        MariaDbReadModelStore._settle,
    )

    async def defining(self: MariaDbReadModelStore, sql: Any, view: Any, query: str) -> None:
        await define(self, sql, view, query)
        if step == "both" and " UNION ALL " in query:
            _die()

    async def showing(self: MariaDbReadModelStore, *given: Any) -> None:
        await show(self, *given)
        if step == "row" and given[2].suffix != "__g1":
            _die()

    async def settling(self: MariaDbReadModelStore, view: Any) -> None:
        if step == "commit":
            _die()
        await settle(self, view)
        if step == "view":
            _die()

    patch.setattr(MariaDbReadModelStore, "_define", defining)
    patch.setattr(MariaDbReadModelStore, "show", showing)
    patch.setattr(MariaDbReadModelStore, "_settle", settling)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        _die_at(sys.argv[2], patch)
        asyncio.run(rebuilding.main(sys.argv[1], 2, 0, 0))

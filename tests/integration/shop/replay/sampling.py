"""Replaying the sample, for the tests of replay and of verification."""

from __future__ import annotations

from pathlib import Path

from tests.integration.shop.replay.sample import DECLINED_CUSTOMER, write_sample

from freehold_shop.providers.client import ProvidersClient
from freehold_shop.providers.wire import DeclineRules, Rules
from freehold_shop.replay.session import Outcome, Wanted, replay
from freehold_shop.supervisor.client import Shop

__all__ = ["replay_sample"]


async def replay_sample(shop: Shop, directory: Path, checkout: str, digit: str = "6") -> Outcome:
    """Replay the sample on a running shop, with the payments of one customer declined; `digit` as `write_sample`."""
    async with ProvidersClient(shop.provider_url) as provider:
        await provider.put_rules(Rules(declines=DeclineRules(customer_refs=(DECLINED_CUSTOMER,))))
    wanted = Wanted(
        files=[write_sample(directory / "sample.csv", digit)],
        state_directory=shop.state_directory,
        checkout=checkout,
        rejects=directory / "rejects.csv",
        patience_seconds=300.0,
    )
    return await replay(wanted)

"""A process that requests two effects, the second of which hangs: `python -m … ADDRESS`."""

from __future__ import annotations

import asyncio
import sys

from freehold.testing import EffectClient


async def main() -> None:
    client = EffectClient(sys.argv[1], timeout_seconds=120.0)
    for key in ("a", "b"):
        await client.perform("charge", key)


if __name__ == "__main__":
    asyncio.run(main())

"""A process that listens to the hints of a service for the conformance suite, and answers each that begins with `ping`.
Run as `python -m freehold.conformance.hint_worker SERVICE URL`; imports the composition root like any program.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from freehold.errors import ConfigurationError
from freehold.hints import Hinting
from freehold.runtime.adapters import open_broker, open_stores

__all__ = ["main"]


async def main(service: str, url: str, options: dict[str, object]) -> None:
    """Listen until killed."""
    carrier: object
    try:
        carrier = open_stores(url).database
    except ConfigurationError:
        broker = open_broker(url, options)
        await broker.open()
        carrier = broker
    assert isinstance(carrier, Hinting)
    channel = carrier.hint_channel(service)
    assert channel is not None
    heard: asyncio.Queue[str] = asyncio.Queue()
    line = await channel.open(heard.put_nowait)
    await line.send(f"{os.getpid()} listens")
    while True:
        text = await heard.get()
        if text.startswith("ping"):
            await line.send(f"{os.getpid()} heard {text.strip()}")


if __name__ == "__main__":
    service, url, *options = sys.argv[1:]
    asyncio.run(main(service, url, json.loads(options[0]) if options else {}))

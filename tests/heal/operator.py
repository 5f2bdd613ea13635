"""What an operator does with the command `freehold`. Imports the shop's client."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from freehold.errors import FreeholdError
from freehold_shop.supervisor.client import Shop

__all__ = ["freehold", "resend"]

_COMMAND_SECONDS: Final = 600.0


async def resend(shop: Shop) -> str:
    began = time.monotonic()
    reason = "the broker was emptied"
    code, document = await freehold(shop, "outbox", "resend", "--since", "2h", "--reason", reason, "--json")
    if code:
        raise FreeholdError(f"freehold outbox resend ends with {code}: {document}")
    count = sum(each["sent_again"] for each in document["services"])
    return f"`freehold outbox resend` restored {count} messages in {time.monotonic() - began:.1f} s"


async def freehold(shop: Shop, *arguments: str) -> tuple[int, Any]:
    """Run the command as an operator does; returns its exit code and the document that it prints."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("freehold"),
        *arguments,
        env={**os.environ, "FREEHOLD_SETTINGS": str(shop.state_directory / "freehold.toml")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            answer, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return process.returncode or 0, json.loads(answer)
    except ValueError as error:
        raise FreeholdError(f"freehold {arguments[0]} printed no document: {errors.decode()[-300:]}") from error

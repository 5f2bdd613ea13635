"""The limit on a stream of NATS. Its settings from before are in a file, so that a later start can lift the limit.

Imports the NATS driver where it is used: the embedded infrastructure does not need it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from freehold import MissingDriver, Unavailable

__all__ = ["LIMIT_FILE", "lift_limit", "limit_stream"]

LIMIT_FILE: Final = "broker-limit.json"
_CONNECT_SECONDS: Final = 5
_CHANGED: Final = ("max_bytes", "discard")
_NO_STREAM: Final = 10059


async def limit_stream(url: str, stream: str, directory: Path) -> None:
    """Limit the stream to its size, so that it rejects every new message. Raises `Unavailable`."""
    client = await _connect(url)
    try:
        info = await _ask(client, f"STREAM.INFO.{stream}")
        if not info:
            raise Unavailable("the broker has no messages yet", hint="let a service start first")
        config, held_bytes = info["config"], int(info["state"]["bytes"])
        file = directory / LIMIT_FILE
        if not file.exists():
            file.write_bytes(msgspec.json.encode({each: config[each] for each in _CHANGED if each in config}))
        await _ask(client, f"STREAM.UPDATE.{stream}", {**config, "discard": "new", "max_bytes": max(1, held_bytes)})
    finally:
        await client.close()


async def lift_limit(url: str, stream: str, directory: Path) -> None:
    """Restore the stream's settings from before the limit, if there is one. Raises `Unavailable`."""
    file = directory / LIMIT_FILE
    if not file.exists():
        return
    before = {"max_bytes": -1, "discard": "old", **msgspec.json.decode(file.read_bytes(), type=dict[str, Any])}
    client = await _connect(url)
    try:
        info = await _ask(client, f"STREAM.INFO.{stream}")
        if info:
            await _ask(client, f"STREAM.UPDATE.{stream}", {**info["config"], **before})
    finally:
        await client.close()
    file.unlink(missing_ok=True)


async def _connect(url: str) -> Any:
    try:
        import nats
    except ImportError as error:
        raise MissingDriver("nats-py", extra="nats") from error
    try:
        return await nats.connect(url.split(","), connect_timeout=_CONNECT_SECONDS, allow_reconnect=False)
    except (OSError, TimeoutError, nats.errors.Error) as error:
        raise Unavailable("the broker does not answer", hint="heal broker-down first") from error


async def _ask(client: Any, what: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request to JetStream; empty where there is no such stream."""
    import nats

    try:
        answer = await client.request(f"$JS.API.{what}", msgspec.json.encode(question or {}), timeout=_CONNECT_SECONDS)
    except (TimeoutError, nats.errors.Error) as error:
        raise Unavailable("JetStream does not answer", hint="try again") from error
    found: dict[str, Any] = msgspec.json.decode(answer.data)
    refused = found.get("error")
    if refused is None:
        return found
    if refused.get("err_code") == _NO_STREAM and question is None:
        return {}
    raise Unavailable(f"JetStream: {refused.get('description')} ({refused.get('err_code')})", hint="try again")

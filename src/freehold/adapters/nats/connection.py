"""A connection to NATS. Adapter: imports the driver and its package.

Nothing is sent while the connection is down: a message whose caller got `Unavailable` must not arrive later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from freehold.adapters.nats.errors import raise_error, translated
from freehold.errors import Unavailable

__all__ = ["NatsConnection", "encode"]

T = TypeVar("T")

# The driver declares an int, but accepts a fraction of a second.
_RECONNECT_WAIT_SECONDS: Final[Any] = 0.2
_RESETS_MAX: Final = 3
_PING_SECONDS: Final = 2
_PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
_WRITTEN_TOGETHER: Final = 100
_HINT: Final = "is nats-server running, with JetStream (-js)?"


class NatsConnection:
    """A connection that reconnects by itself. The callbacks in `on_broken` run after each break, those in
    `on_reconnected` after each reconnection.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._servers = [part if "://" in part else f"nats://{part}" for part in url.split(",")]
        self._timeout_seconds = timeout_seconds
        self._client = Client()
        self._opened = False
        self._failures: list[Exception] = []
        self._resets = 0
        self._refused = asyncio.Event()
        self._broken = asyncio.Event()
        self.on_broken: list[Callable[[], None]] = []
        self.on_reconnected: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether the connection is up, as far as is known."""
        return bool(self._client.is_connected)

    @property
    def message_bytes_max(self) -> int:
        """The largest payload that the server accepts."""
        return int(self._client.max_payload)

    @property
    def server_version(self) -> str:
        """The server's version."""
        return str(self._client.connected_server_version)

    @property
    def ended(self) -> bool:
        """Whether the connection was closed for good, here or by the server: a new one must be opened."""
        return self._opened and bool(self._client.is_closed)

    async def open(self) -> None:
        """Connect. Raises `Unavailable` as soon as every server was tried, or after the time limit."""
        with translated():
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._connect()
                self._opened = True
            except BaseException:
                await self._abandon()
                raise

    async def _connect(self) -> None:
        """Connect once. The driver itself would try for ever, which is wanted only after the first connection."""
        connecting = asyncio.ensure_future(
            self._client.connect(
                self._servers,
                connect_timeout=max(1, int(self._timeout_seconds)),
                reconnect_time_wait=_RECONNECT_WAIT_SECONDS,
                max_reconnect_attempts=-1,
                ping_interval=_PING_SECONDS,
                max_outstanding_pings=2,
                error_cb=self._failed,
                # `Names` makes the subjects, and checks names from outside.
                skip_subject_validation=True,
                disconnected_cb=self._disconnected,
                reconnected_cb=self._reconnected,
            )
        )
        refused = asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait({connecting, refused}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise self._failures[-1]
            connecting.result()
        finally:
            refused.cancel()
            connecting.cancel()
            await asyncio.gather(connecting, refused, return_exceptions=True)

    async def _failed(self, error: Exception) -> None:
        """Count the servers that were tried at the first connection. Later errors show in the calls that fail.

        A server that refuses the credentials may reset the connection before its reason was read; another attempt of
        the driver reads it.
        """
        if self._opened:
            return
        if isinstance(error, ConnectionResetError) and self._resets < _RESETS_MAX * len(self._servers):
            self._resets += 1
            return
        self._failures.append(error)
        if len(self._failures) >= len(self._servers):
            self._refused.set()

    async def close(self) -> None:
        """Close the connection. Never raises."""
        await self._abandon()

    async def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send without waiting for a reply. Raises `Unavailable`."""
        self.check()
        with translated():
            await self._client.publish(subject, payload, reply=reply, headers=headers)

    async def publish_all(self, publications: Sequence[tuple[str, bytes, str, Mapping[str, str] | None]]) -> None:
        """Send many (subject, payload, reply, headers) without waiting for replies. Raises `Unavailable`.

        They are written some at a time, so that the server works on the first while the next are encoded. If the
        connection breaks in between, the rest is not sent, also where it stands again: perhaps to another server.
        """
        self.check()
        client, broken = self._client, self._broken
        with translated():
            for begin in range(0, len(publications), _WRITTEN_TOGETHER):
                for subject, payload, reply, headers in publications[begin : begin + _WRITTEN_TOGETHER]:
                    if len(payload) > client.max_payload:
                        raise nats.errors.MaxPayloadError
                    # The client's `publish` encodes the same in four times the time.
                    await client._send_command(_encoded(subject, payload, reply, headers))  # noqa: SLF001 - `publish` is slower
                await client._flush_pending()  # noqa: SLF001 - begins to write; `flush` is a round trip
                await asyncio.sleep(0)  # the client's task writes now
                if self._broken is not broken or not client.is_connected:
                    raise Unavailable("the connection to NATS broke before all was sent", hint=_HINT)

    async def subscribe(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Call `callback` for each message of a subject. Raises `Unavailable`."""
        self.check()
        with translated():
            return await self._client.subscribe(
                subject, cb=callback, pending_msgs_limit=-1, pending_bytes_limit=_PENDING_BYTES_MAX
            )

    async def round_trip(self) -> None:
        """Return once the server has processed what was sent before. Raises `Unavailable`."""
        self.check()
        with translated():
            await self.unless_broken(self._client.flush(timeout=max(1, round(self._timeout_seconds))))

    async def ask(
        self, subject: str, question: Mapping[str, Any] | None = None, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """Send a request to JetStream's API (`subject` without `$JS.API.`). Raises `ApiError`, `Unavailable`."""
        message = await self.request(f"$JS.API.{subject}", encode(question or {}), timeout_seconds)
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        raise_error(answer)
        return answer

    async def request(self, subject: str, payload: bytes, timeout_seconds: float | None = None) -> Msg:
        """Send a request and wait for its reply, at most until the connection breaks. Raises `Unavailable`."""
        self.check()
        with translated():
            limit = timeout_seconds or self._timeout_seconds
            return await self.unless_broken(self._client.request(subject, payload, timeout=limit))

    async def unless_broken(self, answer: Coroutine[Any, Any, T]) -> T:
        """Wait for a reply. Raises `Unavailable` where the connection breaks: the reply cannot come then."""
        waiting = asyncio.ensure_future(answer)
        breaking = asyncio.ensure_future(self._broken.wait())
        try:
            await asyncio.wait({waiting, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Unavailable("the connection to NATS broke before the reply", hint=_HINT)
            return waiting.result()
        finally:
            waiting.cancel()
            breaking.cancel()

    def inbox(self) -> str:
        """Return a new subject prefix for replies."""
        return str(self._client.new_inbox())

    def check(self) -> None:
        """Raise `Unavailable` while the connection is down."""
        if not self.connected:
            raise Unavailable("NATS is not connected", hint=_HINT)

    async def _disconnected(self) -> None:
        broken, self._broken = self._broken, asyncio.Event()
        broken.set()
        # The client would send its unwritten data after the reconnection, perhaps to an older copy of the stream. But
        # the publisher has got an error for these messages, and publishes them again.
        self._client._pending.clear()  # noqa: SLF001 - the client cannot be asked to drop it
        self._client._pending_data_size = 0  # noqa: SLF001 - the client counts its bytes apart
        for callback in self.on_broken:
            callback()

    async def _reconnected(self) -> None:
        for callback in self.on_reconnected:
            callback()

    async def _abandon(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._timeout_seconds):
                await self._client.close()


def _encoded(subject: str, payload: bytes, reply: str, headers: Mapping[str, str] | None) -> bytes:
    """The command of NATS that publishes a message. `Names` makes the subjects, and this package the headers."""
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (f"{subject} {reply}".encode(), len(payload), payload)
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    sizes = f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n".encode()
    return b"%b%b%b\r\n" % (sizes, head, payload)


def encode(value: Mapping[str, Any]) -> bytes:
    """Encode a request or record."""
    return msgspec.json.encode(value)

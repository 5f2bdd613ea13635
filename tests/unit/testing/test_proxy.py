"""The faults of the TCP proxy, each over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from freehold.testing import Direction, Exchange, Loss, TcpProxy

_SOON_SECONDS = 30.0
"""The limit of what must come."""
_NOTHING_SECONDS = 0.2
"""How long nothing must come."""
_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Server:
    """Answers each line with the same line. `got` is what came, `ends` how the connections ended."""

    def __init__(self) -> None:
        self.port = 0
        self.got: list[bytes] = []
        self.ends: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.got.append(line)
                writer.write(line)
                await writer.drain()
            self.ends.put_nowait("end")
        except ConnectionError:
            self.ends.put_nowait("reset")
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[_Server]:
    found = _Server()
    listener = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = listener.sockets[0].getsockname()[1]
    yield found
    listener.close()


@pytest.fixture
async def proxy(server: _Server) -> AsyncIterator[TcpProxy]:
    async with asyncio.timeout(_SOON_SECONDS), TcpProxy("127.0.0.1", server.port) as found:
        yield found


@asynccontextmanager
async def _client(proxy: TcpProxy) -> AsyncIterator[_Ends]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _ask(ends: _Ends, line: bytes = b"hello\n") -> bytes:
    ends[1].write(line)
    return await ends[0].readline()


async def _is_silent(ends: _Ends) -> bool:
    """Whether nothing comes for a moment, neither data nor an end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_NOTHING_SECONDS):
            await ends[0].read(1)
            return False
    return True


async def _until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - the other end of a socket sends no signal
        await asyncio.sleep(0.01)  # see above


async def test_without_a_fault_all_passes_in_order(proxy: TcpProxy, server: _Server) -> None:
    async with _client(proxy) as ends:
        lines = [b"%d %s\n" % (number, b"x" * 1000) for number in range(500)]
        ends[1].write(b"".join(lines))
        assert [await ends[0].readline() for _ in lines] == lines
        assert (proxy.accepted, proxy.open) == (1, 1)
    assert await server.ends.get() == "end"
    await _until(lambda: proxy.open == 0)


async def test_the_end_of_one_direction_leaves_the_other(proxy: TcpProxy) -> None:
    async with _client(proxy) as ends:
        ends[1].write(b"hello\n")
        ends[1].write_eof()
        assert await ends[0].read() == b"hello\n"


async def test_what_is_delayed_comes_later_and_is_not_slower(proxy: TcpProxy) -> None:
    async with _client(proxy) as ends:
        proxy.delay(0.1)
        began = time.monotonic()
        for _ in range(50):
            ends[1].write(b"hello\n")
            await asyncio.sleep(0)
        for _ in range(50):
            await ends[0].readline()
        took = time.monotonic() - began
        assert took >= 0.2
        proxy.heal()
        assert await _ask(ends) == b"hello\n"


async def test_a_narrow_line_takes_its_time(proxy: TcpProxy) -> None:
    async with _client(proxy) as ends:
        proxy.limit(20_000, Direction.TO_SERVER)
        began = time.monotonic()
        await _ask(ends, b"x" * 10_000 + b"\n")
        assert time.monotonic() - began >= 0.45
    with pytest.raises(ValueError, match="more than 0"):
        proxy.limit(0)


async def test_a_partition_passes_nothing_and_all_of_it_once_healed(proxy: TcpProxy, server: _Server) -> None:
    async with _client(proxy) as ends:
        assert await _ask(ends) == b"hello\n"
        proxy.partition()
        ends[1].write(b"later\n")
        assert await _is_silent(ends)
        assert server.got == [b"hello\n"]
        async with _client(proxy) as new:
            new[1].write(b"new\n")
            assert await _is_silent(new)
            proxy.heal()
            assert await new[0].readline() == b"new\n"
        assert await ends[0].readline() == b"later\n"


async def test_an_end_does_not_pass_a_partition(proxy: TcpProxy, server: _Server) -> None:
    async with _client(proxy) as ends:
        assert await _ask(ends) == b"hello\n"
        proxy.partition()
    await asyncio.sleep(_NOTHING_SECONDS)  # nothing must happen
    assert server.ends.empty()
    proxy.heal()
    assert await server.ends.get() in {"end", "reset"}


@pytest.mark.parametrize("direction", Direction)
async def test_one_way(proxy: TcpProxy, server: _Server, direction: Direction) -> None:
    async with _client(proxy) as ends:
        assert await _ask(ends) == b"hello\n"
        proxy.partition(direction)
        ends[1].write(b"again\n")
        assert await _is_silent(ends)
        assert len(server.got) == (2 if direction is Direction.TO_CLIENT else 1)
        proxy.heal()
        assert await ends[0].readline() == b"again\n"


@pytest.mark.parametrize("direction", [None, *Direction])
async def test_a_half_open_connection_stays_so_and_later_ones_pass(
    proxy: TcpProxy, server: _Server, direction: Direction | None
) -> None:
    async with _client(proxy) as ends:
        assert await _ask(ends) == b"hello\n"
        proxy.half_open(direction)
        ends[1].write(b"again\n")
        assert await _is_silent(ends)
        assert len(server.got) == (2 if direction is Direction.TO_CLIENT else 1)
        proxy.heal()
        assert await _is_silent(ends)
        async with _client(proxy) as new:
            assert await _ask(new) == b"hello\n"
    if direction is not Direction.TO_CLIENT:
        await asyncio.sleep(_NOTHING_SECONDS)  # nothing must happen
        assert server.ends.qsize() <= 1, "that the client has left is not told"


async def test_a_cut_ends_both_sides(proxy: TcpProxy, server: _Server) -> None:
    async with _client(proxy) as ends:
        await _ask(ends)
        assert proxy.cut() == 1
        assert await ends[0].read() == b""
        assert await server.ends.get() == "end"
        assert proxy.cut() == 0


async def test_a_reset_is_one_on_both_sides(proxy: TcpProxy, server: _Server) -> None:
    async with _client(proxy) as ends:
        await _ask(ends)
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            await ends[0].read()
        assert await server.ends.get() == "reset"


async def test_a_reset_of_one_side_is_told_to_the_other(proxy: TcpProxy, server: _Server) -> None:
    async with TcpProxy("127.0.0.1", proxy.port) as outer, _client(outer) as ends:
        await _ask(ends)
        assert outer.reset() == 1
        assert await server.ends.get() == "reset"


async def test_a_refused_connection_is_reset(proxy: TcpProxy) -> None:
    async with _client(proxy) as before:
        await _ask(before)
        proxy.refuse()
        async with _client(proxy) as ends:
            with pytest.raises(ConnectionResetError):
                await ends[0].read()
        assert await _ask(before) == b"hello\n"
        proxy.heal()
        async with _client(proxy) as ends:
            assert await _ask(ends) == b"hello\n"


async def test_a_server_that_does_not_run_is_a_reset() -> None:
    async with asyncio.timeout(_SOON_SECONDS):
        listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        async with TcpProxy("127.0.0.1", port) as proxy, _client(proxy) as ends:
            with pytest.raises(ConnectionResetError):
                await ends[0].read()


@pytest.mark.parametrize("loss", Loss)
async def test_a_request_is_carried_out_and_its_answer_is_lost(proxy: TcpProxy, server: _Server, loss: Loss) -> None:
    lost = proxy.lose_answers(Exchange(b"COMMIT\n"), lambda number: number == 2, loss=loss)
    async with _client(proxy) as ends:
        assert await _ask(ends, b"SELECT\n") == b"SELECT\n"
        assert await _ask(ends, b"COMMIT\n") == b"COMMIT\n"
        ends[1].write(b"COM")
        assert await _is_silent(ends)
        ends[1].write(b"MIT\n")
        await lost.wait()
        match loss:
            case Loss.CUT:
                assert await ends[0].read() == b""
            case Loss.RESET:
                with pytest.raises(ConnectionResetError):
                    await ends[0].read()
            case Loss.HALF_OPEN:
                assert await _is_silent(ends)
    assert server.got == [b"SELECT\n", b"COMMIT\n", b"COMMIT\n"]
    assert (lost.requests, lost.lost) == (2, 1)
    async with _client(proxy) as ends:
        assert await _ask(ends, b"COMMIT\n") == b"COMMIT\n"


async def test_an_answer_is_known_by_its_bytes(proxy: TcpProxy) -> None:
    async with _client(proxy) as ends:
        lost = proxy.lose_answers(Exchange(b"begin\n", answer=b"done\n"))
        ends[1].write(b"begin\nstill\n")
        assert await _is_silent(ends)
        assert lost.lost == 0
        ends[1].write(b"done\n")
        await lost.wait()
        assert await ends[0].read() == b""


async def test_no_more_answers_are_lost_once_it_has_ended(proxy: TcpProxy) -> None:
    lost = proxy.lose_answers(Exchange(b"COMMIT\n"))
    proxy.heal()
    async with _client(proxy) as ends:
        assert await _ask(ends, b"COMMIT\n") == b"COMMIT\n"
    assert (lost.requests, lost.lost) == (0, 0)


async def test_its_end_closes_all_and_frees_the_port(server: _Server) -> None:
    async with asyncio.timeout(_SOON_SECONDS):
        async with TcpProxy("127.0.0.1", server.port) as proxy:
            ends = await asyncio.open_connection("127.0.0.1", proxy.port)
            await _ask(ends)
            proxy.partition()
        assert await ends[0].read() == b""
        ends[1].close()
        async with TcpProxy("127.0.0.1", server.port, port=proxy.port) as again, _client(again) as new:
            assert await _ask(new) == b"hello\n"


async def test_an_observer_sees_what_passes(server: _Server) -> None:
    class Seen:
        def from_client(self, data: bytes) -> None:
            seen.append(b">" + data)

        def from_server(self, data: bytes) -> None:
            seen.append(b"<" + data)

    seen: list[bytes] = []
    async with TcpProxy("127.0.0.1", server.port, observer=Seen) as proxy, _client(proxy) as ends:
        await _ask(ends)
    assert seen == [b">hello\n", b"<hello\n"]


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_connections_that_end_at_any_moment_break_nothing(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    problems: list[dict[str, Any]] = []

    async def talk(proxy: TcpProxy) -> int:
        count = 0
        for _ in range(10):
            with contextlib.suppress(ConnectionError):
                async with _client(proxy) as ends:
                    while await _ask(ends, b"x" * 3000 + b"\n"):
                        count += 1
        return count

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        found = _Server()
        listener = await asyncio.start_server(found.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with asyncio.timeout(_SOON_SECONDS), TcpProxy("127.0.0.1", port) as proxy:
            proxy.lose_answers(Exchange(b"x\n"), lambda number: number % 7 == 0, loss=Loss.RESET)
            talks = [asyncio.create_task(talk(proxy)) for _ in range(4)]
            ways = itertools.cycle((proxy.cut, proxy.reset))
            while not all(each.done() for each in talks):
                await asyncio.sleep(0.003)  # a moment between two ends
                next(ways)()
            assert sum(each.result() for each in talks) > 0
        listener.close()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
    assert problems == []


def test_a_url_through_it() -> None:
    proxy = TcpProxy.before("postgresql://user:p%40ss@db.example:5432/orders?sslmode=disable")
    proxy.port = 7
    through = proxy.through("postgresql://user:p%40ss@db.example:5432/orders?sslmode=disable")
    assert through == "postgresql://user:p%40ss@127.0.0.1:7/orders?sslmode=disable"
    assert proxy.through("nats://db.example:4222") == "nats://127.0.0.1:7"
    with pytest.raises(ValueError, match="a host and a port"):
        TcpProxy.before("sqlite:///file.db")

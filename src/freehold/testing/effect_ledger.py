"""External effects (payments, mails), counted in the process of the test, which is never killed. Testing: imports the
standard library only.

    with EffectLedger() as ledger:
        ledger.answer("charge", EffectAnswer.ANSWER_LOST, times=1)
        ...  # the services call EffectClient(ledger.address)
        assert ledger.effects("charge") == ["A-1", "A-2"]

A server on loopback, in a thread of its own: a test that blocks its event loop delays no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self, cast

__all__ = ["EffectAnswer", "EffectLedger", "EffectRequest", "EffectState"]

_LINE_MAX: Final = 1 << 20
_LIMIT_SECONDS: Final = 60.0


class EffectAnswer(StrEnum):
    """What the ledger does with a request."""

    DONE = "done"
    DECLINED = "declined"
    """The effect does not take place, now or later: the key stays declined."""
    ERROR = "error"
    """Nothing is done, and the caller gets an error. The same key may succeed later."""
    HANG = "hang"
    """Nothing is done, and no answer comes until the caller closes the connection."""
    ANSWER_LOST = "answer-lost"
    """It is done, and the connection is closed without an answer."""


class EffectState(StrEnum):
    """What became of a key."""

    DONE = "done"
    DECLINED = "declined"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    """Its compensation arrived first: it never took place."""


@dataclass(frozen=True, slots=True)
class EffectRequest:
    """A request as it arrived.

    number    its position among all requests, from 1.
    answered  what the ledger did with it: what was declared, or `DECLINED` for a key that was declined or cancelled.
    applied   whether this very request changed anything; false for a repetition.
    """

    number: int
    name: str
    key: str
    body: Mapping[str, Any]
    compensates: str
    answered: EffectAnswer
    applied: bool


@dataclass(slots=True)
class _Rule:
    name: str
    answer: EffectAnswer
    key: str | None
    left: int | None

    def fits(self, name: str, key: str) -> bool:
        return self.name == name and self.key in {None, key} and self.left != 0


class EffectLedger:
    """Records every request and decides what it does, once for a key. All methods may be called from any thread.

    address  `host:port` on loopback, for `EffectClient`; hand it to processes as an argument or a variable.
    """

    def __init__(self) -> None:
        self.address = ""
        self._changed = threading.Condition()
        self._requests: list[EffectRequest] = []
        self._states: dict[str, EffectState] = {}
        self._bodies: dict[str, tuple[str, Mapping[str, Any], str]] = {}
        self._conflicts: list[str] = []
        self._rules: list[_Rule] = []
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="freehold:effect-ledger", daemon=True)

    def __enter__(self) -> Self:
        """Begin to listen. Raises `OSError`."""
        self._thread.start()
        self._server = self._wait(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LINE_MAX))
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections, also those that hang. What was recorded can still be read."""
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_SECONDS)
        self._loop.close()

    def answer(self, name: str, answer: EffectAnswer, *, key: str | None = None, times: int | None = None) -> None:
        """Declare what is done with requests for `name`: with this key or any, the next `times` or all. An earlier
        declaration that fits comes first; without one a request is done. A key that is done or declined stays so:
        for its repetitions only `ERROR`, `HANG` and `ANSWER_LOST` make a difference.
        """
        with self._changed:
            self._rules.append(_Rule(name, answer, key, times))

    def clear_answers(self) -> None:
        """Forget all declarations: heal."""
        with self._changed:
            self._rules.clear()

    @property
    def requests(self) -> Sequence[EffectRequest]:
        """All requests, in the order of their arrival."""
        with self._changed:
            return list(self._requests)

    @property
    def conflicts(self) -> Sequence[str]:
        """Keys that were used again for something else, which a caller must never do."""
        with self._changed:
            return list(self._conflicts)

    def effects(self, name: str) -> Sequence[str]:
        """The keys of the effects that took place and were not compensated, in that order; a key twice never, and
        `""` for each request without a key.
        """
        with self._changed:
            return [
                each.key
                for each in self._requests
                if each.name == name and each.applied and _is_done(each.answered)
                if not each.key or self._states[each.key] is EffectState.DONE
            ]

    def state(self, key: str) -> EffectState | None:
        """What became of a key; None: it was never requested, or never answered."""
        with self._changed:
            return self._states.get(key)

    def wait_for(self, condition: Callable[[], object], timeout_seconds: float = _LIMIT_SECONDS) -> None:
        """Wait until `condition()` holds; it is looked at after each request. Raises `TimeoutError`. Blocks its thread:
        async code uses `reached`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: bool(condition()), timeout_seconds):
                raise TimeoutError(f"not reached after {len(self._requests)} requests and {timeout_seconds:g} s")

    async def reached(self, condition: Callable[[], object], timeout_seconds: float = _LIMIT_SECONDS) -> None:
        """The same for async code."""
        await asyncio.to_thread(self.wait_for, condition, timeout_seconds)

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_LIMIT_SECONDS)

    async def _close(self) -> None:
        self._server.close()
        for each in self._open:
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open.add(task)
        try:
            line = await reader.readline()
            if line.endswith(b"\n"):  # else the caller was killed meanwhile
                await self._reply(json.loads(line), reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the caller is gone, or the ledger closes
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _reply(self, call: Mapping[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered, conflict = self._take(call["name"], call["key"], call["body"], call["compensates"])
        if answered is EffectAnswer.HANG:
            await reader.read()
        if answered in {EffectAnswer.HANG, EffectAnswer.ANSWER_LOST}:
            return
        failed = answered is EffectAnswer.ERROR
        answer = {"error": conflict or "planned"} if failed else {"done": answered is EffectAnswer.DONE}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()

    def _take(self, name: str, key: str, body: Mapping[str, Any], compensates: str) -> tuple[EffectAnswer, str]:
        """Record a request, and apply it. The second result says why the key cannot be used."""
        with self._changed:
            rule = next((each for each in self._rules if each.fits(name, key)), None)
            if rule is not None and rule.left is not None:
                rule.left -= 1
            answer = rule.answer if rule is not None else EffectAnswer.DONE
            conflict = ""
            if key and self._bodies.setdefault(key, (name, body, compensates)) != (name, body, compensates):
                conflict = f"'{key}' of '{self._bodies[key][0]}' was used again for another '{name}'"
                self._conflicts.append(conflict)
                answer = EffectAnswer.ERROR
            applied = False
            if answer not in {EffectAnswer.ERROR, EffectAnswer.HANG}:
                answer, applied = self._apply(key, compensates, answer)
            self._requests.append(EffectRequest(len(self._requests) + 1, name, key, body, compensates, answer, applied))
            self._changed.notify_all()
            return answer, conflict

    def _apply(self, key: str, compensates: str, answer: EffectAnswer) -> tuple[EffectAnswer, bool]:
        known = self._states.get(key)
        if known is not None:
            refused = known in {EffectState.DECLINED, EffectState.CANCELLED}
            lost = answer is EffectAnswer.ANSWER_LOST
            return answer if lost else EffectAnswer.DECLINED if refused else EffectAnswer.DONE, False
        done = _is_done(answer)
        if key:
            self._states[key] = EffectState.DONE if done else EffectState.DECLINED
        if compensates and done:
            before = self._states.get(compensates)
            if before is None:
                self._states[compensates] = EffectState.CANCELLED
            elif before is EffectState.DONE:
                self._states[compensates] = EffectState.COMPENSATED
        return answer, True


def _is_done(answer: EffectAnswer) -> bool:
    return answer in {EffectAnswer.DONE, EffectAnswer.ANSWER_LOST}

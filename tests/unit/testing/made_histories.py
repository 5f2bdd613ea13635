"""Histories of clients of an object that is right: each operation takes effect at one moment between its invocation and
its end, and some clients never learn of it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from freehold.testing import Operation, OperationOutcome

Apply = Callable[[Any, Operation], tuple[Any, Any]]
"""`(state, operation)`: the next state, and the result of the operation; `Refused` as the result where it fails."""
Invoke = Callable[[random.Random, int], tuple[str, str, Any]]
"""Draws the name, key and value of the operation with this number."""


class Refused:
    """The result of an operation that does not take effect."""


@dataclass
class _Running:
    operation: Operation
    result: Any = None
    done: bool = False
    lost: bool = False


def made_history(draw: random.Random, state: Any, apply: Apply, invoke: Invoke, *, steps: int = 30) -> list[Operation]:
    """Draw a history of three clients. It ends with an operation `read` of everything, alone."""
    ended: list[Operation] = []
    running: dict[str, _Running] = {}
    place = number = 0

    def take_effect(each: _Running) -> None:
        nonlocal state
        state, each.result = apply(copy.deepcopy(state), each.operation)
        each.done = True

    for _ in range(steps):
        client = draw.choice(("c1", "c2", "c3"))
        place += 1
        now = running.get(client)
        if now is None:
            name, key, value = invoke(draw, number)
            number += 1
            lost = name != "read" and draw.random() < 0.15
            running[client] = _Running(Operation(client, name, key, value, place), lost=lost)
        elif now.lost:
            if draw.random() < 0.5:
                take_effect(now)
            ended.append(now.operation)
            del running[client]
        elif not now.done:
            take_effect(now)
        else:
            ended.append(_returned(now, place))
            del running[client]
    for now in running.values():
        place += 1
        if not now.done:
            take_effect(now)
        ended.append(_returned(now, place))
    for key in sorted({each.key for each in ended}):
        place += 2
        last = _Running(Operation("last", "read", key, None, place - 1))
        take_effect(last)
        ended.append(_returned(last, place))
    return sorted(ended, key=lambda each: each.invoked)


def _returned(now: _Running, place: int) -> Operation:
    if isinstance(now.result, Refused):
        return replace(now.operation, returned=place, outcome=OperationOutcome.FAIL)
    return replace(now.operation, returned=place, outcome=OperationOutcome.OK, result=now.result)

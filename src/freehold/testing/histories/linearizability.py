"""The checker of registers: whether there is an order of the operations that fits to what their clients saw. Testing:
imports the standard library only.

The algorithm is that of J. M. Wing and C. Gong, Testing and Verifying Concurrent Objects (1993), with the memoisation
of G. Lowe, Testing for Linearizability (2017): of two partial orders with the same operations and the same state, one
is looked into. Each key is a register of its own, and is checked alone (locality, Herlihy and Wing 1990).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from freehold.testing.histories.operation import Operation, OperationOutcome

__all__ = ["check_register"]

_STEPS_MAX: Final = 2_000_000
_NEVER: Final = 1 << 62


def check_register(operations: Iterable[Operation], *, initial: Any = None) -> Sequence[str]:
    """Problems of registers, by key; empty where the history is linearisable.

    Operations: `write` with a value, `read` with a result, and `cas` with the value `[expected, new]`; a `cas` that
    found another value is `fail`. Raises `ValueError` for another name, and for a history that is too long to check.
    """
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.name not in {"read", "write", "cas"}:
            raise ValueError(f"a register has no operation '{operation.name}'")
        if operation.outcome is not OperationOutcome.FAIL and (operation.ok or operation.name != "read"):
            by_key[operation.key].append(operation)
    found = []
    for key, own in by_key.items():
        longest = _search(own, initial)
        if longest is not None:
            placed = set(longest)
            left = [str(each) for number, each in enumerate(own) if number not in placed and each.ok][:4]
            after = ", ".join(str(own[number]) for number in longest[-4:]) or "the beginning"
            found.append(f"'{key}' is not linearisable: after {after} none of these fits: {'; '.join(left)}")
    return found


def _search(operations: Sequence[Operation], initial: Any) -> Sequence[int] | None:
    """None where all operations can be put into an order; else the longest beginning of one."""
    ends = [each.returned if each.returned is not None else _NEVER for each in operations]
    must = sum(1 << number for number, each in enumerate(operations) if each.ok)
    seen: set[tuple[int, str]] = set()
    longest: list[int] = []
    stack: list[tuple[int, Any, list[int]]] = [(0, initial, [])]
    for _ in range(_STEPS_MAX):
        if not stack:
            return longest
        done, state, order = stack.pop()
        if done & must == must:
            return None
        if len(order) > len(longest):
            longest = order
        left = [number for number in range(len(operations)) if not done >> number & 1]
        first_end = min(ends[number] for number in left)
        for number in reversed(left):
            if operations[number].invoked > first_end:
                continue
            following, fits = _apply(state, operations[number])
            known = (done | 1 << number, repr(following))
            if fits and known not in seen:
                seen.add(known)
                stack.append((known[0], following, [*order, number]))
    raise ValueError(f"not decided after {_STEPS_MAX} steps: use fewer operations for each key")


def _apply(state: Any, operation: Operation) -> tuple[Any, bool]:
    """The next state, and whether the operation is possible in this one."""
    match operation.name:
        case "write":
            return operation.value, True
        case "read":
            return state, operation.result == state
        case _:
            expected, new = operation.value
            return new, state == expected

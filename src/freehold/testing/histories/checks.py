"""The checkers of sets, of lists with an order for each key, and of accounts. Testing: imports the standard library
only.

Each returns its problems as sentences; no problem, an empty list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from freehold.testing.histories.operation import Operation, OperationOutcome

__all__ = ["check_bank", "check_list_append", "check_set"]

_STATES_MAX: Final = 50_000
_READS: Final = frozenset({"read", "peek"})


def check_set(operations: Iterable[Operation]) -> Sequence[str]:
    """Problems of one set: nothing acknowledged is lost, nothing appears from nowhere, nothing is there twice.

    Operations: `add` with a value, `read` with the list of all values as its result. A `peek` is a read that may lag:
    it may lack what was acknowledged.
    """
    every = list(operations)
    adds = [each for each in every if each.name == "add"]
    return [
        f"{_short(read)}: {problem}"
        for read in every
        if read.name in _READS and read.ok
        for problem in _contents(read, adds, read.result)
    ]


def check_list_append(operations: Iterable[Operation]) -> Sequence[str]:
    """Problems of lists, one for each key: no lost append, none twice or from nowhere; appends of which one returned
    before the other was invoked are in this order; of two reads, one is the beginning of the other, and a later read is
    not shorter.

    Operations: `append` with a value, `read` with the list as its result, and `peek`, a read that may lag: it may lack
    the last appends that were acknowledged. The values of a key differ.
    """
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for each in operations:
        by_key[each.key].append(each)
    found: list[str] = []
    for key, own in by_key.items():
        appends = [each for each in own if each.name == "append"]
        reads = [each for each in own if each.name in _READS and each.ok]
        for read in reads:
            problems = [*_contents(read, appends, read.result), *_disorder(appends, read.result)]
            found += [f"list '{key}': {_short(read)}: {problem}" for problem in problems]
        found += [f"list '{key}': {problem}" for problem in _not_prefixes(reads)]
    return found


def check_bank(operations: Iterable[Operation], initial: Mapping[str, int]) -> Sequence[str]:
    """Problems of accounts: the sum of all balances is constant, and what a read sees are whole transfers: all that
    were acknowledged before it, and any of those in progress.

    Operations: `transfer` with the value `[from, to, amount]`, `read` with the balances of all accounts by name.
    """
    every = list(operations)
    transfers = [each for each in every if each.name == "transfer" and each.outcome is not OperationOutcome.FAIL]
    found: list[str] = []
    for read in every:
        if read.name != "read" or not read.ok:
            continue
        if sum(read.result.values()) != sum(initial.values()):
            found.append(f"{read}: the sum is {sum(read.result.values())}, and was {sum(initial.values())}")
        elif not _explained(read, transfers, initial):
            found.append(f"{read}: no whole transfers lead to these balances")
    return found


def _contents(read: Operation, writes: Sequence[Operation], values: Sequence[Any]) -> Sequence[str]:
    """What is lost, from nowhere, or there twice."""
    there = Counter(repr(value) for value in values)
    acknowledged = [each for each in writes if read.name == "read" and each.before(read)]
    possible = {
        repr(each.value)
        for each in writes
        if each.outcome is not OperationOutcome.FAIL and (read.returned is None or each.invoked < read.returned)
    }
    return [
        *(f"{each.value} is lost" for each in acknowledged if repr(each.value) not in there),
        *(f"{value} comes from nowhere" for value in there if value not in possible),
        *(f"{value} is there {number} times" for value, number in there.items() if number > 1),
    ]


def _disorder(appends: Sequence[Operation], values: Sequence[Any]) -> Sequence[str]:
    """Appends that are in another order than their clients made them in."""
    by_value = {repr(each.value): each for each in appends}
    known = [by_value[repr(value)] for value in values if repr(value) in by_value]
    found = []
    latest: Operation | None = None
    for each in known:
        if latest is not None and each.before(latest):
            found.append(f"{each.value} is after {latest.value}, which was appended later")
        if latest is None or each.invoked > latest.invoked:
            latest = each
    return found


def _not_prefixes(reads: Sequence[Operation]) -> Sequence[str]:
    by_length = sorted(reads, key=lambda read: len(read.result))
    found = [
        f"{_short(one)} and {_short(other)} contradict each other"
        for one, other in pairwise(by_length)
        if other.result[: len(one.result)] != one.result
    ]
    longest: Operation | None = None
    for read in sorted(reads, key=lambda read: read.invoked):
        earlier = [other for other in reads if other.before(read)]
        longest = max(earlier, key=lambda other: len(other.result), default=None)
        if longest is not None and len(longest.result) > len(read.result):
            found.append(f"{_short(read)} is older than {_short(longest)}, which had returned before")
    return found


def _explained(read: Operation, transfers: Sequence[Operation], initial: Mapping[str, int]) -> bool:
    """Whether all transfers before the read and some of those that overlap it lead to its balances."""
    names = sorted({*initial, *read.result})
    balances = dict(initial)
    for each in transfers:
        if each.before(read):
            _move(balances, each)
    wanted = tuple(read.result.get(name, 0) for name in names)
    states = {tuple(balances.get(name, 0) for name in names)}
    for each in transfers:
        if each.before(read) or (read.returned is not None and each.invoked > read.returned):
            continue
        states |= {_moved(state, names, each) for state in states}
        if len(states) > _STATES_MAX:
            raise ValueError("too many transfers are in progress at one read: use fewer clients")
    return wanted in states


def _move(balances: dict[str, int], transfer: Operation) -> None:
    giver, taker, amount = transfer.value
    balances[giver] = balances.get(giver, 0) - amount
    balances[taker] = balances.get(taker, 0) + amount


def _moved(state: tuple[int, ...], names: Collection[str], transfer: Operation) -> tuple[int, ...]:
    balances = dict(zip(names, state, strict=True))
    _move(balances, transfer)
    return tuple(balances.values())


def _short(read: Operation) -> str:
    return f"{read.client}: the {read.name} at {read.invoked} of {len(read.result)} values"

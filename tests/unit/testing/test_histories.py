"""The checkers of histories: what is right passes, and each mutation of it is found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.forking import forked
from tests.unit.testing.made_histories import Refused, made_history

from freehold.testing import (
    HistoryRecorder,
    Operation,
    OperationOutcome,
    check_bank,
    check_list_append,
    check_register,
    check_set,
    read_history,
)

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32).map(random.Random)


def _set(draw: random.Random) -> list[Operation]:
    def apply(state: list[int], operation: Operation) -> tuple[Any, Any]:
        if operation.name == "add":
            return [*state, operation.value], None
        return state, list(state)

    def invoke(draw: random.Random, number: int) -> tuple[str, str, Any]:
        return ("add", "", number) if draw.random() < 0.5 else ("read", "", None)

    return made_history(draw, [], apply, invoke)


def _lists(draw: random.Random) -> list[Operation]:
    def apply(state: dict[str, list[int]], operation: Operation) -> tuple[Any, Any]:
        own = state.setdefault(operation.key, [])
        if operation.name == "append":
            own.append(operation.value)
            return state, None
        return state, list(own)

    def invoke(draw: random.Random, number: int) -> tuple[str, str, Any]:
        key = draw.choice(("x", "y"))
        return ("append", key, number) if draw.random() < 0.5 else ("read", key, None)

    return made_history(draw, {}, apply, invoke)


def _registers(draw: random.Random) -> list[Operation]:
    def apply(state: dict[str, Any], operation: Operation) -> tuple[Any, Any]:
        if operation.name == "write":
            return {**state, operation.key: operation.value}, None
        if operation.name == "read":
            return state, state.get(operation.key)
        expected, new = operation.value
        if state.get(operation.key) != expected:
            return state, Refused()
        return {**state, operation.key: new}, None

    def invoke(draw: random.Random, number: int) -> tuple[str, str, Any]:
        key = draw.choice(("x", "y"))
        match draw.choice(("write", "read", "cas")):
            case "write":
                return "write", key, number
            case "read":
                return "read", key, None
            case _:
                return "cas", key, [draw.randint(0, max(0, number - 1)), number]

    return made_history(draw, {}, apply, invoke)


ACCOUNTS = {"a": 10, "b": 10, "c": 10}


def _bank(draw: random.Random) -> list[Operation]:
    def apply(state: dict[str, int], operation: Operation) -> tuple[Any, Any]:
        if operation.name == "read":
            return state, dict(state)
        giver, taker, amount = operation.value
        if state[giver] < amount:
            return state, Refused()
        return {**state, giver: state[giver] - amount, taker: state[taker] + amount}, None

    def invoke(draw: random.Random, number: int) -> tuple[str, str, Any]:
        giver, taker = draw.sample(sorted(ACCOUNTS), 2)
        amount = draw.randint(1, 9)
        return ("transfer", "", [giver, taker, amount]) if draw.random() < 0.5 else ("read", "", None)

    return made_history(draw, dict(ACCOUNTS), apply, invoke)


def _changed(history: Sequence[Operation], last: Operation, result: Any) -> list[Operation]:
    return [replace(each, result=result) if each is last else each for each in history]


def _last(history: Sequence[Operation], key: str = "") -> Operation:
    return [each for each in history if each.client == "last" and key in {"", each.key}][-1]


@QUICK
@given(draw=SEEDS)
def test_right_histories_pass(draw: random.Random) -> None:
    assert check_set(_set(draw)) == []
    assert check_list_append(_lists(draw)) == []
    assert check_register(_registers(draw)) == []
    assert check_bank(_bank(draw), ACCOUNTS) == []


@QUICK
@given(draw=SEEDS)
def test_a_set_that_loses_doubles_or_invents_is_found(draw: random.Random) -> None:
    history = _set(draw)
    added = [each.value for each in history if each.name == "add" and each.ok]
    assume(added)
    last, lost = _last(history), draw.choice(added)
    right = list(last.result)
    assert f"{lost} is lost" in check_set(_changed(history, last, [each for each in right if each != lost]))[-1]
    assert f"{lost} is there 2 times" in check_set(_changed(history, last, [*right, lost]))[-1]
    assert "comes from nowhere" in check_set(_changed(history, last, [*right, 1000]))[-1]


def test_a_read_that_may_lag_loses_nothing_and_invents_nothing() -> None:
    ok = OperationOutcome.OK
    history = [
        Operation("c1", "add", "", 1, 1, 2, ok),
        Operation("c2", "peek", "", None, 3, 4, ok, []),
        Operation("c2", "peek", "", None, 5, 6, ok, [2]),
    ]
    assert check_set(history) == ["c2: the peek at 5 of 1 values: 2 comes from nowhere"]


@QUICK
@given(draw=SEEDS)
def test_a_list_out_of_order_is_found(draw: random.Random) -> None:
    history = _lists(draw)
    appends = [each for each in history if each.name == "append" and each.ok]
    pairs = [(one, other) for one in appends for other in appends if one.key == other.key and one.before(other)]
    assume(pairs)
    one, other = draw.choice(pairs)
    last = _last(history, one.key)
    swap = {one.value: other.value, other.value: one.value}
    problems = check_list_append(_changed(history, last, [swap.get(each, each) for each in last.result]))
    assert any("which was appended later" in problem for problem in problems)
    assert any("is lost" in problem for problem in check_list_append(_changed(history, last, last.result[1:][:-1])))


def test_reads_of_a_list_that_contradict_each_other_are_found() -> None:
    ok = OperationOutcome.OK
    history = [
        Operation("c1", "append", "x", 1, 1),
        Operation("c2", "append", "x", 2, 2),
        Operation("c3", "read", "x", None, 3, 5, ok, [1, 2]),
        Operation("c4", "read", "x", None, 4, 6, ok, [2, 1]),
        Operation("c4", "read", "x", None, 7, 8, ok, [2]),
    ]
    problems = check_list_append(history)
    assert any("contradict each other" in problem for problem in problems)
    assert any("is older than" in problem for problem in problems)


@QUICK
@given(draw=SEEDS)
def test_a_register_with_a_value_from_nowhere_is_found(draw: random.Random) -> None:
    history = _registers(draw)
    last = _last(history)
    problems = check_register(_changed(history, last, 1000))
    assert len(problems) == 1
    assert f"'{last.key}' is not linearisable" in problems[0]


def test_a_stale_read_of_a_register_is_found() -> None:
    ok = OperationOutcome.OK
    history = [
        Operation("c1", "write", "x", 1, 1, 2, ok),
        Operation("c1", "write", "x", 2, 3, 4, ok),
        Operation("c2", "read", "x", None, 5, 6, ok, 1),
    ]
    assert check_register(history) == [
        "'x' is not linearisable: after c1: write x 1 → None, c1: write x 2 → None none of these fits: c2: read x → 1"
    ]
    overlapping = [history[0], replace(history[1], returned=7), history[2]]
    assert check_register(overlapping) == []
    assert (
        check_register([history[0], replace(history[1], returned=None, outcome=OperationOutcome.UNKNOWN), history[2]])
        == []
    )


def test_two_updates_of_one_value_are_found() -> None:
    """A lost update: both clients replaced the same value."""
    ok = OperationOutcome.OK
    history = [
        Operation("c1", "write", "x", 0, 1, 2, ok),
        Operation("c1", "cas", "x", [0, 1], 3, 5, ok),
        Operation("c2", "cas", "x", [0, 2], 4, 6, ok),
    ]
    assert len(check_register(history)) == 1
    assert check_register([*history[:2], replace(history[2], outcome=OperationOutcome.FAIL)]) == []


@QUICK
@given(draw=SEEDS)
def test_a_partial_transfer_is_found(draw: random.Random) -> None:
    history = _bank(draw)
    last = _last(history)
    torn = {**last.result, "a": last.result["a"] - 1}
    assert "the sum is 29, and was 30" in check_bank(_changed(history, last, torn), ACCOUNTS)[-1]
    moved = {**torn, "b": last.result["b"] + 1, "c": last.result["c"]}
    unknown = [each for each in history if each.name == "transfer" and each.outcome is OperationOutcome.UNKNOWN]
    if not unknown:
        assert "no whole transfers" in check_bank(_changed(history, last, moved), ACCOUNTS)[-1]


def test_threads_record_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"

    def work(number: int) -> None:
        recorder = HistoryRecorder(path, f"c{number}")
        for value in range(50):
            with recorder.invoke("add", value=[number, value]):
                pass

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = read_history(path)
    assert len(found) == 200
    assert {each.outcome for each in found} == {OperationOutcome.OK}
    assert all(each.returned is not None and each.invoked < each.returned for each in found)


def test_the_end_of_an_operation_is_what_its_client_knows(tmp_path: Path) -> None:
    recorder = HistoryRecorder(tmp_path / "h", "c1")
    with recorder.invoke("read", key="x") as read:
        read.ok(5)
    with pytest.raises(ConnectionError), recorder.invoke("write", key="x", value=1):
        raise ConnectionError
    with pytest.raises(KeyError), recorder.invoke("write", key="x", value=2) as refused:
        refused.fail()
        raise KeyError
    assert [str(each) for each in read_history(tmp_path / "h")] == [
        "c1: read x → 5",
        "c1: write x 1 (unknown)",
        "c1: write x 2 (fail)",
    ]


async def test_a_killed_client_leaves_a_beginning(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    client = await forked("tests.unit.testing.history_client", str(path))
    await client.stdout.readline()
    client.kill()
    await client.end()
    with path.open("ab") as file:
        file.write(b'{"kind":"ok","id":"to')  # as of a write that was cut
    first, second = read_history(path)
    assert (first.ok, second.outcome, second.returned) == (True, OperationOutcome.UNKNOWN, None)

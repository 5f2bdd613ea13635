"""Names and limits that a service, a saga, a step and a handler are declared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from freehold import Saga, Service, Transaction, command, step
from freehold.errors import DeclarationError


@command("naming.do", key="key")
class Do:
    key: str


@dataclass(frozen=True)
class State:
    key: str


_NO_LIMIT = [0.0, -1.0, math.nan, math.inf]


@pytest.mark.parametrize("name", ["", "é", "a\n", "a\x00", "a b", "a.b", "A", "1a", "-a", "a" * 64, "a_b"])
def test_a_services_name_is_part_of_topics_settings_and_files(name: str) -> None:
    with pytest.raises(DeclarationError, match="not a service name"):
        Service(name)


@pytest.mark.parametrize("name", ["orders", "a.b\n", "a.\x00", "a.é", "a." + "b" * 200, "A.b"])
def test_a_sagas_name_is_kept_by_every_engine(name: str) -> None:
    with pytest.raises(DeclarationError, match="lower case, the service first"):
        type(
            "Named",
            (Saga,),
            {"__orig_bases__": (Saga[State],), "do": step(Do, no_compensation=True)},
            name=name,
            key="key",
        )


@pytest.mark.parametrize("seconds", _NO_LIMIT)
def test_a_time_limit_is_a_number_above_nothing(seconds: Any) -> None:
    async def handle(_: Do, tx: Transaction) -> None: ...

    with pytest.raises(DeclarationError, match="timeout_seconds"):
        step(Do, timeout_seconds=seconds)
    with pytest.raises(DeclarationError, match="timeout_seconds"):
        Service("naming").handles(Do, timeout_seconds=seconds)(handle)
    with pytest.raises(DeclarationError, match="deadline_seconds"):

        class Limited(Saga[State], name="naming.limited", key="key", deadline_seconds=seconds):
            do = step(Do, no_compensation=True)

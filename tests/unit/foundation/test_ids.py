"""Identifiers: unique, ordered within a process, and derived ones that repeat."""

from __future__ import annotations

import multiprocessing
import time
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from freehold.ids import derive_id, new_id, stable_hash


def _draw(number: int) -> list[UUID]:
    return [new_id() for _ in range(number)]


def test_ids_of_one_process_increase_and_are_version_7() -> None:
    drawn = _draw(20_000)
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == len(drawn)
    assert {(each.version, each.variant) for each in drawn} == {(7, "specified in RFC 4122")}


def test_the_time_of_an_id_is_near_the_clock() -> None:
    assert abs((new_id().int >> 80) - time.time() * 1000) < 5_000


def test_forked_children_draw_different_ids() -> None:
    new_id()
    with multiprocessing.get_context("fork").Pool(4) as pool:
        drawn = [each for part in pool.map(_draw, [2_000] * 8) for each in part]
    assert len(set(drawn)) == len(drawn)


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_derived_ids_repeat_and_depend_on_where_parts_end(first: list[str], second: list[str]) -> None:
    assert derive_id(*first) == derive_id(*first)
    assert (derive_id(*first) == derive_id(*second)) == (first == second)
    assert derive_id(*first).version == 8


def test_a_stable_hash_never_changes() -> None:
    assert stable_hash("order-1") == 2709196713320186429
    assert -(2**63) <= stable_hash("x") < 2**63

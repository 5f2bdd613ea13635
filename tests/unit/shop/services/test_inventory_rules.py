"""The rules of stock, without any database."""

from hypothesis import given
from hypothesis import strategies as st

from freehold_shop.inventory.contracts import StockLine
from freehold_shop.inventory.domain import (
    COMMIT,
    COMMIT_LATE,
    EXPIRE,
    RECEIVE,
    RELEASE,
    RESERVE,
    RESTOCK,
    Movement,
    lines_document,
    merge_lines,
)

LINES = st.lists(st.builds(StockLine, st.sampled_from("ABCDE"), st.integers(1, 50)), max_size=20)


def test_lines_of_one_product_are_one_line() -> None:
    assert merge_lines([StockLine("B", 1), StockLine("A", 2), StockLine("B", 3)]) == (
        StockLine("A", 2),
        StockLine("B", 4),
    )


@given(LINES)
def test_merged_lines_are_in_one_order_and_lose_nothing(lines: list[StockLine]) -> None:
    merged = merge_lines(lines)
    assert [line.sku for line in merged] == sorted({line.sku for line in lines})
    assert sum(line.quantity for line in merged) == sum(line.quantity for line in lines)


def test_a_document_is_what_the_statements_take() -> None:
    assert lines_document([StockLine("A", 2), StockLine("B", 1)]) == '[["A",2],["B",1]]'


def test_whatever_ends_a_reservation_takes_back_what_it_reserved() -> None:
    for end in (RELEASE, EXPIRE, COMMIT):
        assert RESERVE.reserved + end.reserved == 0


def test_goods_leave_once_and_come_back_once() -> None:
    def on_hand(*movements: Movement) -> int:
        return sum(movement.on_hand for movement in movements)

    assert on_hand(RECEIVE, RESERVE, COMMIT) == 0
    assert on_hand(RECEIVE, RESERVE, EXPIRE, COMMIT_LATE) == 0
    assert on_hand(RECEIVE, RESERVE, COMMIT, RESTOCK) == 1

"""Which orders returned goods were bought with."""

from hypothesis import given
from hypothesis import strategies as st

from freehold_shop.money import Money
from freehold_shop.orders.contracts import OrderLine
from freehold_shop.orders.domain import (
    PastOrder,
    ReturnLine,
    SoldLine,
    lines_document,
    match_return,
    sold_lines,
    total_of,
)

RECENT = PastOrder("recent", "GBP", (SoldLine("A", 3, 250), SoldLine("B", 1, 100)))
OLD = PastOrder("old", "GBP", (SoldLine("A", 5, 200, returned=1),))


def test_the_most_recent_order_comes_first_and_the_rest_is_taken_from_older_ones() -> None:
    matching = match_return([ReturnLine("A", 5)], [RECENT, OLD])
    assert [(each.order.order_id, each.lines) for each in matching.accepted] == [
        ("recent", (OrderLine("A", 3, 250),)),
        ("old", (OrderLine("A", 2, 200),)),
    ]
    assert [each.refund for each in matching.accepted] == [Money(750), Money(400)]
    assert matching.unmatched == ()


def test_what_was_returned_before_cannot_be_returned_again() -> None:
    matching = match_return([ReturnLine("A", 9)], [OLD])
    assert matching.accepted[0].lines == (OrderLine("A", 4, 200),)
    assert matching.accepted[0].order.all_returned
    assert matching.unmatched == (ReturnLine("A", 5),)


def test_what_was_never_sold_belongs_to_no_order() -> None:
    assert match_return([ReturnLine("Z", 1)], [RECENT]).accepted == ()


def test_two_lines_of_one_product_do_not_take_the_same_piece() -> None:
    matching = match_return([ReturnLine("B", 1), ReturnLine("B", 1)], [RECENT])
    assert matching.accepted[0].lines == (OrderLine("B", 1, 100),)
    assert matching.unmatched == (ReturnLine("B", 1),)


SOLD = st.builds(SoldLine, st.sampled_from("ABC"), st.integers(1, 9), st.integers(1, 500))
ORDERS = st.lists(st.lists(SOLD, min_size=1, max_size=4).map(tuple), max_size=4).map(
    lambda all_lines: [PastOrder(f"o{number}", "GBP", lines) for number, lines in enumerate(all_lines)]
)
RETURNS = st.lists(st.builds(ReturnLine, st.sampled_from("ABCD"), st.integers(1, 20)), max_size=5)


@given(RETURNS, ORDERS)
def test_pieces_are_conserved(lines: list[ReturnLine], orders: list[PastOrder]) -> None:
    matching = match_return(lines, orders)
    accepted = sum(line.quantity for each in matching.accepted for line in each.lines)
    assert accepted + sum(line.quantity for line in matching.unmatched) == sum(line.quantity for line in lines)
    marked = sum(line.returned for each in matching.accepted for line in each.order.lines)
    assert marked == accepted
    assert all(0 <= line.returned <= line.quantity for each in matching.accepted for line in each.order.lines)
    assert all(each.refund.pence <= total_of_order(each.order) for each in matching.accepted)


def total_of_order(order: PastOrder) -> int:
    return total_of((OrderLine(line.sku, line.quantity, line.price_pence) for line in order.lines), "GBP").pence


def test_stored_lines_come_back() -> None:
    assert sold_lines(lines_document(RECENT.lines)) == RECENT.lines
    assert sold_lines(lines_document([OrderLine("A", 1, 2)])) == (SoldLine("A", 1, 2, 0),)

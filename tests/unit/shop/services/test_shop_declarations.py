"""What the services declare fits together, and both checkouts know every message that somebody sends."""

import pytest

from freehold.messages import MessageKind, registry
from freehold_shop.assembly import SERVICES
from freehold_shop.money import CurrencyMismatch, Money
from freehold_shop.orders.checkout import Checkout


def test_every_command_has_its_handler() -> None:
    handled = {message for each in SERVICES.values() for message in each.service.handlers}
    shop = {
        message
        for message in registry
        if message.service in SERVICES and message.cls.__module__.startswith("freehold_shop.")
    }
    assert {each.name for each in shop if each.kind is MessageKind.COMMAND} == {
        each.name for each in handled if each.kind is MessageKind.COMMAND
    }


def test_messages_of_an_order_keep_their_order() -> None:
    for service in SERVICES.values():
        for message in service.service.handlers:
            assert message.key is not None, message.name


def test_the_checkout_can_go_back_until_the_money_is_taken() -> None:
    steps = Checkout.definition().by_name
    assert [name for name, step in steps.items() if step.compensation is not None] == ["reserve", "hold", "ship"]
    assert Checkout.definition().pivot is steps["capture"]
    assert steps["notify"].optional


def test_amounts_of_two_currencies_do_not_add_up() -> None:
    assert Money(100) + Money(50) - Money(30) == Money(120)
    with pytest.raises(CurrencyMismatch):
        Money(1, "GBP") + Money(1, "EUR")

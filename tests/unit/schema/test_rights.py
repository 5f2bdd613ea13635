"""What a service may do with the broker follows from what it declares."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from freehold.adapters.nats.accounts import accounts
from freehold.broker import OPERATOR, BrokerOptions, BrokerRights
from freehold.errors import ConfigurationError, DeclarationError
from freehold.messages import command, event
from freehold.schema.rights import broker_rights
from freehold.service import Service
from freehold.transaction import Transaction


@command("rights-two.do-it", version=1)
@dataclass(frozen=True, slots=True)
class DoIt:
    """Do it."""


@event("rights-one.happened", version=1)
@dataclass(frozen=True, slots=True)
class Happened:
    """It happened."""


def test_what_is_sent_and_read_is_a_right_and_nothing_else() -> None:
    one, two = Service("rights-one"), Service("rights-two")
    one.sends(DoIt)

    @two.handles(Happened)
    async def note(_message: Happened, _tx: Transaction) -> None:
        return None

    assert broker_rights([two, one]) == [
        BrokerRights(
            "rights-one", frozenset({"rights-one.commands", "rights-one.events", "rights-two.commands"}), frozenset()
        ),
        BrokerRights(
            "rights-two", frozenset({"rights-two.commands", "rights-two.events"}), frozenset({"rights-one.events"})
        ),
    ]


def test_only_commands_are_declared_as_sent() -> None:
    with pytest.raises(DeclarationError, match="not a command"):
        Service("rights-one").sends(Happened)


def test_passwords_stand_as_they_are_given_and_names_are_checked() -> None:
    rights = [BrokerRights("orders", frozenset({"orders.events"}), frozenset())]
    text = accounts(rights, BrokerOptions(), {OPERATOR: "$OPERATOR", "orders": '"secret"'})
    assert "user: OPERATOR, password: $OPERATOR," in text
    assert 'user: orders, password: "secret"' in text
    with pytest.raises(ConfigurationError):
        accounts(
            [BrokerRights("orders", frozenset({"a > b"}), frozenset())], BrokerOptions(), {OPERATOR: "", "orders": ""}
        )

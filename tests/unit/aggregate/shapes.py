"""One account in both styles, that the tests share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from freehold.aggregate import Aggregate, Decider, applies, decides
from freehold.messages import event


class Overdrawn(Exception):
    """There is not so much on the account."""


@event("bank.opened")
class Opened:
    owner: str


@event("bank.paid-in")
class Deposited:
    amount: int


@event("bank.withdrawn")
class Withdrawn:
    amount: int


@event("bank.renamed")
class Renamed:
    owner: str


@dataclass(frozen=True, slots=True)
class Open:
    owner: str
    deposit: int = 0


@dataclass(frozen=True, slots=True)
class Deposit:
    amount: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    amount: int


Command = Open | Deposit | Withdraw
Happened = Opened | Deposited | Withdrawn


@dataclass(frozen=True, slots=True)
class Balance:
    owner: str = ""
    amount: int = 0
    moves: int = 0


def decide(balance: Balance, command: Command) -> list[Happened]:
    match command:
        case Open(owner, deposit):
            if balance.owner:
                return []
            return [Opened(owner), Deposited(deposit)] if deposit else [Opened(owner)]
        case Deposit(amount):
            return [Deposited(amount)]
        case Withdraw(amount):
            if amount > balance.amount:
                raise Overdrawn
            return [Withdrawn(amount)]


def evolve(balance: Balance, happened: Happened) -> Balance:
    match happened:
        case Opened(owner):
            return replace(balance, owner=owner)
        case Deposited(amount):
            return replace(balance, amount=balance.amount + amount, moves=balance.moves + 1)
        case Withdrawn(amount):
            return replace(balance, amount=balance.amount - amount, moves=balance.moves + 1)


ACCOUNT = Decider("account", Balance(), decide, evolve)


class Account(Aggregate, category="object"):
    owner: str = ""
    amount: int = 0
    moves: int = 0

    @decides(Open)
    def open(self, command: Open) -> None:
        if self.owner:
            return
        self.record(Opened(command.owner))
        if command.deposit:
            self.record(Deposited(command.deposit))

    @decides(Deposit)
    def deposit(self, command: Deposit) -> None:
        self.record(Deposited(command.amount))

    @decides(Withdraw)
    def withdraw(self, command: Withdraw) -> None:
        if command.amount > self.amount:
            raise Overdrawn
        self.record(Withdrawn(command.amount))

    @applies(Opened)
    def opened(self, happened: Opened) -> None:
        self.owner = happened.owner

    @applies(Deposited)
    def deposited(self, happened: Deposited) -> None:
        self.amount += happened.amount
        self.moves += 1

    @applies(Withdrawn)
    def withdrawn(self, happened: Withdrawn) -> None:
        self.amount -= happened.amount
        self.moves += 1

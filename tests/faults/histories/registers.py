"""Registers as aggregates, and a service that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from freehold import Decider, Migration, Repository, Service, Transaction, event

_TABLE = ["CREATE TABLE shown (name VARCHAR(20) PRIMARY KEY, value VARCHAR(40) NOT NULL, version INTEGER NOT NULL)"]


@event("registers.changed", key="value")
class Changed:
    value: str


@dataclass(frozen=True)
class Register:
    value: str = ""


@dataclass(frozen=True)
class Write:
    value: str


@dataclass(frozen=True)
class Cas:
    expected: str
    value: str


def decide(state: Register, wanted: Write | Cas) -> Sequence[Changed]:
    if isinstance(wanted, Cas) and wanted.expected != state.value:
        return []
    return [Changed(wanted.value)]


def evolve(state: Register, changed: Changed) -> Register:
    return Register(changed.value)


@event("registers.written", key="name")
class Written:
    name: str
    value: str
    version: int


registers = Service("registers")
shown = Service("shown", migrations=[Migration("100-shown", {"": _TABLE})])
written: Repository[Register] = Repository(
    Decider("register", Register(), decide, evolve),
    publish=lambda changed, result: Written(result.id, changed.value, result.version),
)


@shown.handles(Written)
async def show(message: Written, tx: Transaction) -> None:
    values = {"name": message.name, "value": message.value, "version": message.version}
    changed = await tx.connection.execute(
        text("UPDATE shown SET value = :value, version = :version WHERE name = :name"), values
    )
    if not changed.rowcount:
        await tx.connection.execute(text("INSERT INTO shown VALUES (:name, :value, :version)"), values)

"""Every fault there is. Imports the definition of a fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freehold_shop.faults.fault import Fault

__all__ = ["catalogue"]


def catalogue(services: Sequence[str]) -> Mapping[str, Fault]:
    """The faults by name, for a shop of these services."""
    lasting = (*_of_payments(), *_of_messages(), *_of_databases(), _slow_projections(), _poison())
    faults = (*lasting, *(_crash(service) for service in services))
    return {fault.name: fault for fault in faults}


def _of_payments() -> Sequence[Fault]:
    sentences = {
        "down": "The payment provider answers 503 to everything.",
        "slow": "The payment provider takes three seconds for each answer.",
        "decline": "The payment provider declines every card.",
    }
    return [_payments(rule, sentence) for rule, sentence in sentences.items()]


def _payments(rule: str, sentence: str) -> Fault:
    return Fault(
        f"payments-{rule}",
        sentence,
        begin=lambda site: site.payments_rule(rule, on=True),
        end=lambda site: site.payments_rule(rule, on=False),
    )


def _of_messages() -> Sequence[Fault]:
    return (
        Fault(
            "broker-down",
            "The broker is gone for everybody: killed where it is a server, its file locked where it is embedded.",
            begin=lambda site: site.broker_outage(on=True),
            end=lambda site: site.broker_outage(on=False),
        ),
        Fault(
            "relay-stopped",
            "The relays of orders stand still: orders are placed, and nobody else hears of them.",
            begin=lambda site: site.stop_relays("orders", on=True),
            end=lambda site: site.stop_relays("orders", on=False),
        ),
        Fault(
            "duplicate-messages",
            "Every tenth message is published twice.",
            begin=lambda site: site.duplicate_messages(on=True),
            end=lambda site: site.duplicate_messages(on=False),
        ),
    )


def _poison() -> Fault:
    """The last of those that last: to take it back, broker and databases must be there again."""
    return Fault(
        "poison-message",
        "Messages that nobody can read go to every topic: they become dead letters, which healing drops.",
        begin=lambda site: site.poison(on=True),
        end=lambda site: site.poison(on=False),
    )


def _of_databases() -> Sequence[Fault]:
    return [
        Fault(
            "orders-database-down",
            "The database of orders is gone: its file locked, or its PostgreSQL database closed to everybody.",
            begin=lambda site: site.database_outage("orders", on=True),
            end=lambda site: site.database_outage("orders", on=False),
        )
    ]


def _slow_projections() -> Fault:
    return Fault(
        "slow-projections",
        "The read models of orders and overview take 25 to 75 ms longer for each batch.",
        begin=lambda site: site.slow_projections(on=True),
        end=lambda site: site.slow_projections(on=False),
    )


def _crash(service: str) -> Fault:
    return Fault(
        f"{service}-crash",
        f"Every process of {service} is killed (SIGKILL), once; the supervisor starts them again.",
        begin=lambda site: site.crash(service),
    )

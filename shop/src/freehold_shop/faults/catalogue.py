"""All faults of the shop. Imports the definition of a fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from freehold_shop.faults.fault import Ending, Fault, Site, Trouble

__all__ = ["catalogue"]

_DATABASE_OF_ORDERS: Mapping[Trouble, str] = {
    Trouble.DOWN: "The database of orders is down: PostgreSQL ends its sessions and accepts no connection, MariaDB"
    " locks the account of orders; for SQLite another process keeps the file's write lock.",
    Trouble.FULL: "The database of orders is full: PostgreSQL answers 53100 to every write, and MariaDB 1021, by"
    " triggers on its tables; SQLite answers SQLITE_FULL to what needs another page, by max_page_count.",
    Trouble.READ_ONLY: "The database of orders is read-only: PostgreSQL by default_transaction_read_only, MariaDB by"
    " read_only of the server, with all databases there, SQLite by query_only in the processes of orders.",
    Trouble.LOCKED: "The tables of orders are locked, as by an ALTER TABLE whose transaction stays open; for SQLite"
    " another process takes the write lock for eight seconds, again and again.",
}

_STOPPABLE = ("orders", "inventory")
"""The service that orchestrates the sagas, and one that they wait for."""


_ON_MARIADB: Mapping[Trouble, str] = {
    Trouble.FROZEN: "The server of the database of orders is stopped (SIGSTOP), with all databases there; healing"
    " continues it (SIGCONT).",
}


def catalogue(services: Sequence[str], engine: str) -> Mapping[str, Fault]:
    """The faults by name, for a shop of these services, with the database of orders on this engine.

    Lasting faults end in this order: those whose end needs the broker and the databases come last.
    """
    troubles = {**(_ON_MARIADB if engine == "mariadb" else {}), **_DATABASE_OF_ORDERS}
    lasting = (
        *_of_payments(),
        *(_stopped(service) for service in services if service in _STOPPABLE),
        *_of_broker(),
        *_of_messages(),
        *(_of_database("orders", trouble, text) for trouble, text in troubles.items()),
        _slow_projections(),
        _emptied(),
        _poison(),
    )
    once = (*(_crash(service) for service in services), *(() if engine == "sqlite" else _of_server("orders")))
    faults = (*lasting, *once)
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
        end=_at_once(lambda site: site.payments_rule(rule, on=False)),
    )


def _of_broker() -> Sequence[Fault]:
    return (
        Fault(
            "broker-down",
            "The broker is down: NATS is killed, the embedded broker's file is locked.",
            begin=lambda site: site.broker_outage(on=True),
            end=_at_once(lambda site: site.broker_outage(on=False)),
        ),
        Fault(
            "broker-at-its-limit",
            "The broker accepts no more messages: the stream of NATS may not grow (10077), and the embedded broker's"
            " file gets no more pages (SQLITE_FULL).",
            begin=lambda site: site.broker_limit(on=True),
            end=_at_once(lambda site: site.broker_limit(on=False)),
        ),
    )


def _of_messages() -> Sequence[Fault]:
    return (
        Fault(
            "relay-stopped",
            "The relays of orders are stopped: orders are placed, and no other service receives their events.",
            begin=lambda site: site.stop_relays("orders", on=True),
            end=_at_once(lambda site: site.stop_relays("orders", on=False)),
        ),
        Fault(
            "duplicate-messages",
            "Every tenth message is published twice.",
            begin=lambda site: site.duplicate_messages(on=True),
            end=_at_once(lambda site: site.duplicate_messages(on=False)),
        ),
    )


def _emptied() -> Fault:
    return Fault(
        "broker-emptied",
        "The broker loses all it holds: NATS is killed and comes back with an empty store, the embedded broker's file"
        " is deleted while it is open. Healing sends again what was confirmed.",
        begin=lambda site: site.empty_broker(),
        end=lambda site: site.send_again(),
        outlives_the_shop=True,
    )


def _poison() -> Fault:
    """The last of the lasting faults: its end needs the broker and the databases."""
    return Fault(
        "poison-message",
        "Every topic gets messages that no service can read: they become dead letters, which healing discards.",
        begin=lambda site: site.poison(),
        end=lambda site: site.discard_poison(),
        outlives_the_shop=True,
    )


def _of_database(service: str, trouble: Trouble, sentence: str) -> Fault:
    return Fault(
        f"{service}-database-{trouble}",
        sentence,
        begin=lambda site: site.database_trouble(service, trouble, on=True),
        end=_at_once(lambda site: site.database_trouble(service, trouble, on=False)),
    )


def _of_server(service: str) -> Sequence[Fault]:
    return (
        Fault(
            f"{service}-database-crash",
            f"The server of the database of {service} is killed (SIGKILL), once; the supervisor starts it again.",
            begin=lambda site: site.crash_database(service),
        ),
        Fault(
            f"{service}-sessions-ended",
            f"All sessions of {service} on the server of its database are ended, once, whatever they do.",
            begin=lambda site: site.end_sessions(service),
        ),
    )


def _slow_projections() -> Fault:
    return Fault(
        "slow-projections",
        "The read models of orders and overview take 25 to 75 ms longer for each batch.",
        begin=lambda site: site.slow_projections(on=True),
        end=_at_once(lambda site: site.slow_projections(on=False)),
    )


def _stopped(service: str) -> Fault:
    return Fault(
        f"{service}-stopped",
        f"The processes of {service} are stopped at any point (SIGSTOP); healing continues them (SIGCONT).",
        begin=lambda site: site.stop_processes(service, on=True),
        end=_at_once(lambda site: site.stop_processes(service, on=False)),
    )


def _crash(service: str) -> Fault:
    return Fault(
        f"{service}-crash",
        f"Every process of {service} is killed (SIGKILL), once; the supervisor starts them again.",
        begin=lambda site: site.crash(service),
    )


def _at_once(end: Callable[[Site], None]) -> Callable[[Site], Ending | None]:
    """An end that is over when it returns."""

    def ended(site: Site) -> None:
        end(site)

    return ended

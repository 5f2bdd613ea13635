"""What Freehold promises as a whole, and the tests of several parts together that prove it.

Each test is named by its file and function, each module by its name; the generator refuses a test that pytest does not
collect, and a module that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_RUNTIME: Final = "tests/integration/runtime/test_exactly_once.py::"
_ALONE: Final = "tests/integration/runtime/test_standalone.py::"
_SAGA: Final = "tests/integration/saga/test_saga_engine.py::"
_KILLED: Final = "tests/integration/saga/test_saga_killed.py::"
_EXPLORED: Final = "tests/unit/saga/test_saga_exploration.py::"
_EVENTS: Final = "tests/integration/eventstore/"
_HTTP: Final = "tests/unit/http/test_http.py::"
_SHOP: Final = "tests/integration/shop/ops/"
_REPLAY: Final = "tests/integration/shop/replay/test_replay.py::"
_PLANTED: Final = "tests/faults/test_planted.py::"
_SERVICES: Final = "tests/integration/shop/services/"


@dataclass(frozen=True, slots=True)
class Proof:
    """The tests that prove a sentence, and the modules that keep it."""

    tests: tuple[str, ...]
    kept_by: tuple[str, ...]


WHOLE: Final[dict[str, Proof]] = {
    "An event of one service takes effect once in another, although it is delivered twice.": Proof(
        (f"{_RUNTIME}test_effects_happen_once_although_deliveries_come_twice",),
        ("freehold.outbox.relay_runner", "freehold.inbox.consumer_runner", "freehold.inbox.receipts"),
    ),
    "Processes of one service share the work; a killed one is replaced, in order and without a second effect.": Proof(
        (
            f"{_RUNTIME}test_two_processes_share_the_work_and_one_may_be_killed",
            f"{_RUNTIME}test_a_killed_process_goes_on_where_it_was",
        ),
        ("freehold.leases.keeper", "freehold.groups.coordinator", "freehold.inbox.consumer_runner"),
    ),
    "A kill between staging and commit publishes nothing; after the commit the message is published.": Proof(
        ("tests/integration/sql/test_kill.py::test_kill",),
        ("freehold.transaction.transaction", "freehold.transaction.staging_area"),
    ),
    "A poison message blocks only its key, and can be edited and replayed.": Proof(
        (f"{_RUNTIME}test_a_poison_message_parks_its_key_alone_and_can_be_replayed",),
        ("freehold.inbox.retry", "freehold.inbox.deferred_runner"),
    ),
    "While the broker is unavailable messages wait; afterwards they are published in order.": Proof(
        (f"{_RUNTIME}test_a_broker_that_was_away_is_caught_up_with",),
        ("freehold.outbox.relay_runner", "freehold.runtime.broker_link"),
    ),
    "Outbox and inbox, used alone, commit and roll back with the application's own transaction.": Proof(
        (
            f"{_ALONE}test_what_is_published_in_a_users_session_shares_its_fate",
            f"{_ALONE}test_a_receipt_in_a_users_session_shares_its_fate",
            "tests/integration/sql/test_enlist.py::test_sqlite",
            "tests/integration/sql/test_enlist.py::test_postgres",
        ),
        ("freehold.runtime.standalone",),
    ),
    "If a step is rejected, the saga is compensated in reverse order.": Proof(
        (f"{_SAGA}test_a_refusal_is_compensated_in_reverse_order",),
        ("freehold.saga.machine",),
    ),
    "Late and repeated replies change nothing.": Proof(
        (f"{_SAGA}test_late_and_duplicate_replies_are_journalled_and_change_nothing",),
        ("freehold.saga.machine", "freehold.saga.engine"),
    ),
    "A step that times out is requested again with the same idempotency key.": Proof(
        (f"{_SAGA}test_a_timeout_repeats_the_request_with_the_same_key",),
        ("freehold.saga.machine", "freehold.saga.effects"),
    ),
    "A running instance ends by the version of the definition that it began with.": Proof(
        (f"{_SAGA}test_an_old_version_ends_by_its_own_definition",),
        ("freehold.saga.definition", "freehold.saga.engine"),
    ),
    "Each saga ends once, whichever processes are killed and how often.": Proof(
        (f"{_KILLED}test_killed_again_and_again_every_saga_ends_once",),
        ("freehold.saga.engine", "freehold.saga.saga_runner"),
    ),
    "A saga ends in a correct state whichever two things fail; every combination is run.": Proof(
        (f"{_EXPLORED}test_the_checkout_ends_well_whichever_two_things_fail",),
        ("freehold.saga.machine",),
    ),
    "Readers of all events skip none, beside ten writers that are slow, overlap and roll back.": Proof(
        (
            f"{_EVENTS}test_tailing.py::test_tailing_on_postgres",
            f"{_EVENTS}test_tailing.py::test_tailing_on_postgres_beside_idle_transactions",
            f"{_EVENTS}test_tailing.py::test_tailing_on_sqlite",
        ),
        ("freehold.adapters.postgres.events", "freehold.adapters.sqlite.events"),
    ),
    "Events survive a crash of the server and a move to another one, and readers continue at their positions.": Proof(
        (
            f"{_EVENTS}test_crash.py::test_a_crash_takes_positions_back_and_nothing_is_skipped",
            f"{_EVENTS}test_crash.py::test_a_store_of_nothing_but_gaps_stalls_nobody",
            f"{_EVENTS}test_crash.py::test_a_restored_store_is_read_on",
            f"{_EVENTS}test_crash.py::test_a_standby_is_refused",
        ),
        ("freehold.adapters.postgres.events",),
    ),
    "No HTTP response reports an effect that does not exist.": Proof(
        (
            f"{_HTTP}test_an_answer_below_400_comes_after_the_commit",
            f"{_HTTP}test_every_other_answer_takes_everything_back_and_tells_no_secret",
        ),
        ("freehold.http.middleware",),
    ),
    "A repeated HTTP request with an Idempotency-Key has one effect.": Proof(
        (
            f"{_HTTP}test_the_same_key_and_body_give_the_same_answer_and_one_effect",
            f"{_HTTP}test_concurrent_requests_of_one_key_have_one_effect",
        ),
        ("freehold.http.middleware",),
    ),
    "Both checkouts of the shop release everything that they reserved when an order is rejected.": Proof(
        (f"{_SERVICES}test_checkout.py::test_whatever_refuses_everything_taken_is_given_back",),
        ("freehold_shop.orders.checkout", "freehold_shop.orders.service", "freehold_shop.inventory.service"),
    ),
    "A role of one service's PostgreSQL database is refused by every other.": Proof(
        (f"{_SHOP}test_servers_profile.py::test_every_role_reaches_its_own_database_and_no_other",),
        ("freehold_shop.supervisor.accounts",),
    ),
    "During an outage of one service of the shop the others keep serving; then every order ends correctly.": Proof(
        (
            f"{_SHOP}test_faults.py::test_a_locked_orders_database_stops_nobody_else",
            f"{_SHOP}test_servers_profile.py::test_other_services_serve_through_an_outage_and_all_ends_well",
        ),
        ("freehold.outbox.relay_runner", "freehold.runtime.broker_link"),
    ),
    "If all services of the shop are killed at once, they start again and continue.": Proof(
        (
            f"{_SHOP}test_running.py::test_all_services_killed_at_once_come_back_and_go_on",
            f"{_SHOP}test_servers_profile.py::test_all_services_killed_at_once_come_back",
        ),
        ("freehold_shop.supervisor",),
    ),
    "Orders replayed through both checkouts end alike, also on servers; every check of `verify` holds.": Proof(
        (
            f"{_REPLAY}test_the_same_orders_come_to_the_same_with_both_checkouts",
            f"{_REPLAY}test_on_servers",
        ),
        ("freehold_shop.replay", "freehold_shop.verify"),
    ),
    "Killing one service or everything during a replay of orders loses and duplicates nothing.": Proof(
        (
            f"{_REPLAY}test_kill_in_the_middle_loses_and_doubles_nothing",
            f"{_REPLAY}test_everything_dies_at_once_and_goes_on_in_the_same_directory",
        ),
        ("freehold.outbox.relay_runner", "freehold.inbox.receipts"),
    ),
    "Known bugs, planted on purpose, are found by the checks.": Proof(
        (
            f"{_PLANTED}test_acknowledging_before_the_commit_is_found",
            f"{_PLANTED}test_removing_rows_before_the_confirmation_is_found",
            f"{_PLANTED}test_dropping_the_receipts_is_found",
            f"{_PLANTED}test_skipping_the_check_of_the_token_is_found",
            f"{_PLANTED}test_saving_without_the_version_is_found",
        ),
        ("freehold_shop.verify",),
    ),
}

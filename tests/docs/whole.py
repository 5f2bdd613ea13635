"""What Freehold promises as a whole, and the tests of several parts together that prove it.

Each test is named by its file and function; the generator refuses a name that pytest does not collect.
"""

from __future__ import annotations

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

WHOLE: Final[dict[str, tuple[str, ...]]] = {
    "An event of one service has one effect in another, although deliveries come twice.": (
        f"{_RUNTIME}test_effects_happen_once_although_deliveries_come_twice",
    ),
    "Processes of one service share the work; one that is killed is replaced, in order and without a second effect.": (
        f"{_RUNTIME}test_two_processes_share_the_work_and_one_may_be_killed",
        f"{_RUNTIME}test_a_killed_process_goes_on_where_it_was",
    ),
    "A kill between staging and commit publishes nothing; after the commit the message is published.": (
        "tests/integration/sql/test_kill.py::test_kill",
    ),
    "A poison message parks its key alone, and can be edited and replayed.": (
        f"{_RUNTIME}test_a_poison_message_parks_its_key_alone_and_can_be_replayed",
    ),
    "Messages wait for a broker that is away, and follow in order.": (
        f"{_RUNTIME}test_a_broker_that_was_away_is_caught_up_with",
    ),
    "Outbox and inbox alone share the fate of a transaction of the user's own.": (
        f"{_ALONE}test_what_is_published_in_a_users_session_shares_its_fate",
        f"{_ALONE}test_a_receipt_in_a_users_session_shares_its_fate",
        "tests/integration/sql/test_enlist.py::test_sqlite",
        "tests/integration/sql/test_enlist.py::test_postgres",
    ),
    "A saga that is refused is compensated in reverse order.": (
        f"{_SAGA}test_a_refusal_is_compensated_in_reverse_order",
    ),
    "Late and repeated replies change nothing.": (
        f"{_SAGA}test_late_and_duplicate_replies_are_journalled_and_change_nothing",
    ),
    "A step that times out is repeated under the same idempotency key.": (
        f"{_SAGA}test_a_timeout_repeats_the_request_with_the_same_key",
    ),
    "Instances in flight end by the version of the definition that they began with.": (
        f"{_SAGA}test_an_old_version_ends_by_its_own_definition",
    ),
    "Sagas end once, whatever is killed and how often.": (
        f"{_KILLED}test_killed_again_and_again_every_saga_ends_once",
    ),
    "Sagas end well whichever two things fail; every life is lived.": (
        f"{_EXPLORED}test_the_checkout_ends_well_whichever_two_things_fail",
    ),
    "Readers of all events skip none, beside ten writers that are slow, overlap and take back.": (
        f"{_EVENTS}test_tailing.py::test_tailing_on_postgres",
        f"{_EVENTS}test_tailing.py::test_tailing_on_postgres_beside_idle_transactions",
        f"{_EVENTS}test_tailing.py::test_tailing_on_sqlite",
    ),
    "Events survive a crash of the server and a move to another one, and readers go on where they were.": (
        f"{_EVENTS}test_crash.py::test_a_crash_takes_positions_back_and_nothing_is_skipped",
        f"{_EVENTS}test_crash.py::test_a_store_of_nothing_but_gaps_stalls_nobody",
        f"{_EVENTS}test_crash.py::test_a_restored_store_is_read_on",
        f"{_EVENTS}test_crash.py::test_a_standby_is_refused",
    ),
    "No HTTP answer tells of an effect that does not exist.": (
        f"{_HTTP}test_an_answer_below_400_comes_after_the_commit",
        f"{_HTTP}test_every_other_answer_takes_everything_back_and_tells_no_secret",
    ),
    "A repeated HTTP request with an Idempotency-Key has one effect.": (
        f"{_HTTP}test_the_same_key_and_body_give_the_same_answer_and_one_effect",
        f"{_HTTP}test_concurrent_requests_of_one_key_have_one_effect",
    ),
    "Both checkouts of the shop give back everything they took when an order is refused.": (
        f"{_SERVICES}test_checkout.py::test_whatever_refuses_everything_taken_is_given_back",
    ),
    "A role of one service's PostgreSQL database is refused by every other.": (
        f"{_SHOP}test_servers_profile.py::test_every_role_reaches_its_own_database_and_no_other",
    ),
    "Other services of the shop serve through an outage, and all ends well.": (
        f"{_SHOP}test_faults.py::test_a_locked_orders_database_stops_nobody_else",
        f"{_SHOP}test_servers_profile.py::test_other_services_serve_through_an_outage_and_all_ends_well",
    ),
    "All services of the shop may be killed at once.": (
        f"{_SHOP}test_running.py::test_all_services_killed_at_once_come_back_and_go_on",
        f"{_SHOP}test_servers_profile.py::test_all_services_killed_at_once_come_back",
    ),
    "Orders replayed through both checkouts come to the same, also on servers, and every check of `verify` holds.": (
        f"{_REPLAY}test_the_same_orders_come_to_the_same_with_both_checkouts",
        f"{_REPLAY}test_on_servers",
    ),
    "A kill in the middle of a replay, of a service or of everything, loses and doubles nothing.": (
        f"{_REPLAY}test_kill_in_the_middle_loses_and_doubles_nothing",
        f"{_REPLAY}test_everything_dies_at_once_and_goes_on_in_the_same_directory",
    ),
    "Known bugs, planted on purpose, are found by the checks.": (
        f"{_PLANTED}test_acknowledging_before_the_commit_is_found",
        f"{_PLANTED}test_removing_rows_before_the_confirmation_is_found",
        f"{_PLANTED}test_dropping_the_receipts_is_found",
        f"{_PLANTED}test_skipping_the_check_of_the_token_is_found",
        f"{_PLANTED}test_saving_without_the_version_is_found",
    ),
}

"""Guarantees of the database, leases, idempotency keys and the audit trail. Imports the suites."""

from __future__ import annotations

from typing import Final

from freehold.conformance.audit import AuditStoreConformance as Audit
from freehold.conformance.database import DatabaseConformance as Database
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.hints import HintChannelConformance as Hints
from freehold.conformance.idempotency import IdempotencyStoreConformance as Idempotency
from freehold.conformance.leases import LeaseStoreConformance as Leases
from freehold.conformance.transaction import TransactionConformance as Transactions

__all__ = ["AUDIT", "DATABASE", "HINTS", "IDEMPOTENCY", "LEASES", "TRANSACTIONS"]

DATABASE: Final = (
    Guarantee(
        "A transaction commits at the end of its block; an exception or a cancellation rolls everything back.",
        (
            Database.test_the_block_commits,
            Database.test_an_exception_comes_through_as_it_is,
            Database.test_cancellations_leave_no_connection_behind,
        ),
    ),
    Guarantee(
        "A wait for a connection or a lock ends at its time limit, with an error that says so.",
        (Database.test_a_transaction_that_cannot_begin_says_so_in_time,),
    ),
    Guarantee("A migration is applied once.", (Database.test_upgrade_is_done_once,)),
    Guarantee(
        "A database belongs to one service; another service is refused, and the error names the owner.",
        (
            Database.test_a_database_is_marked_with_its_service,
            Database.test_of_services_that_come_at_once_one_owns_it,
            Database.test_a_renamed_service_is_marked_by_command,
        ),
    ),
    Guarantee(
        "An object that is not a transaction of the database cannot be enlisted.",
        (Database.test_what_cannot_be_joined_is_refused,),
    ),
)

TRANSACTIONS: Final = (
    Guarantee(
        "After the end of a transaction its handles refuse every call, and none reaches another transaction.",
        (
            Transactions.test_nothing_is_collected_after_the_end,
            Transactions.test_nothing_is_written_after_the_end,
            Transactions.test_a_view_of_another_message_ends_with_it,
            Transactions.test_a_thread_may_publish,
            Transactions.test_the_token_is_read_after_the_end,
        ),
    ),
    Guarantee(
        "Pending writes are committed with the transaction, or the commit fails.",
        (
            Transactions.test_what_was_collected_after_the_last_write_makes_the_commit_refuse,
            Transactions.test_what_another_task_collects_is_committed_or_refused,
        ),
    ),
    Guarantee(
        "Statements of two tasks in one transaction run one after the other.",
        (Transactions.test_two_tasks_publish_in_one_transaction,),
    ),
    Guarantee(
        "A transaction that was misused is rolled back at its end, and the end raises.",
        (Transactions.test_what_is_doomed_is_rolled_back_at_the_end,),
    ),
)

LEASES: Final = (
    Guarantee("Of several challengers one gets the lease.", (Leases.test_one_challenger_wins,)),
    Guarantee("A holder that sends heartbeats keeps its lease.", (Leases.test_a_heartbeat_defends_a_lease,)),
    Guarantee(
        "Each take-over invalidates older fencing tokens, also those of the same owner.",
        (Leases.test_an_old_token_of_the_same_owner_is_stale, Leases.test_renew_tells_what_is_still_held),
    ),
    Guarantee("A released lease is free at once.", (Leases.test_release_clears_the_owner,)),
)

HINTS: Final = (
    Guarantee(
        "Every other process of the service hears a hint, and no other service does.",
        (
            Hints.test_every_other_process_hears_a_hint,
            Hints.test_hints_of_one_sender_arrive_in_order,
            Hints.test_another_service_hears_nothing,
        ),
    ),
    Guarantee(
        "A process that is frozen or dead hinders nobody.",
        (
            Hints.test_processes_hear_each_other_and_a_dead_one_hinders_nobody,
            Hints.test_a_frozen_process_hinders_nobody,
        ),
    ),
    Guarantee(
        "A process that lost its line knows it, and hears again on a new one.",
        (Hints.test_a_lost_line_ends_and_a_new_one_hears,),
    ),
)

IDEMPOTENCY: Final = (
    Guarantee(
        "The same key and request give the same response and one effect.",
        (
            Idempotency.test_the_same_key_gives_the_same_answer,
            Idempotency.test_a_concurrent_request_waits_for_the_answer,
        ),
    ),
    Guarantee("The same key with a different request is detected.", (Idempotency.test_another_body_is_recognised,)),
    Guarantee(
        "A failed request does not use up its key.",
        (
            Idempotency.test_a_key_is_claimed_in_the_transaction_of_its_effect,
            Idempotency.test_a_concurrent_request_takes_over_after_a_rollback,
        ),
    ),
)

AUDIT: Final = (
    Guarantee(
        "An action and its audit row are in one transaction.",
        (Audit.test_an_entry_belongs_to_the_transaction_it_tells_of,),
    ),
)

"""What the ports promise, and which test of the suites proves it: the docs' table is generated from this.

A promise names its tests as functions, so that a renamed test is an error here. A test that no promise names shows in
the table under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from freehold.conformance.audit import AuditStoreConformance as Audit
from freehold.conformance.broker import BrokerConformance as Broker
from freehold.conformance.checkpoints import CheckpointStoreConformance as Checkpoints
from freehold.conformance.database import DatabaseConformance as Database
from freehold.conformance.deadletters import DeadLetterStoreConformance as DeadLetters
from freehold.conformance.events import EventStoreConformance as Events
from freehold.conformance.idempotency import IdempotencyStoreConformance as Idempotency
from freehold.conformance.inbox import InboxStoreConformance as Inbox
from freehold.conformance.leases import LeaseStoreConformance as Leases
from freehold.conformance.outbox import OutboxStoreConformance as Outbox
from freehold.conformance.progress import ProgressStoreConformance as Progress
from freehold.conformance.reconciliations import ReconciliationStoreConformance as Reconciliations
from freehold.conformance.replays import ReplayStoreConformance as Replays
from freehold.conformance.saga import SagaStoreConformance as Saga
from freehold.conformance.schedule import ScheduleStoreConformance as Schedule
from freehold.conformance.snapshots import SnapshotStoreConformance as Snapshots

__all__ = ["GUARANTEES", "SUITES", "Guarantee"]

Test = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A promise of a port in one sentence, and the tests of its suite that prove it."""

    text: str
    tests: Sequence[Test]


SUITES: Final[dict[str, type[Any]]] = {
    "Database": Database,
    "Outbox": Outbox,
    "Inbox and retries": Inbox,
    "Dead letters": DeadLetters,
    "Scheduled messages": Schedule,
    "Sagas": Saga,
    "Events": Events,
    "Snapshots": Snapshots,
    "Projections' checkpoints": Checkpoints,
    "Progress of consumers": Progress,
    "Historical replays": Replays,
    "Leases": Leases,
    "Idempotency keys": Idempotency,
    "Comparisons of copies": Reconciliations,
    "Audit": Audit,
    "Broker": Broker,
}
"""The suites by the heading of the docs."""

_DATABASE: Final = (
    Guarantee(
        "A transaction commits with its block; an exception or a cancellation takes everything back.",
        (
            Database.test_the_block_commits,
            Database.test_an_exception_comes_through_as_it_is,
            Database.test_cancellations_leave_no_connection_behind,
        ),
    ),
    Guarantee(
        "A wait for a connection or a lock ends in time, with an error that says so.",
        (Database.test_a_transaction_that_cannot_begin_says_so_in_time,),
    ),
    Guarantee("A migration is applied once.", (Database.test_upgrade_is_done_once,)),
    Guarantee("Only a transaction that can be joined is joined.", (Database.test_what_cannot_be_joined_is_refused,)),
)

_OUTBOX: Final = (
    Guarantee(
        "A message is staged with the commit, and never without it.",
        (
            Outbox.test_what_is_staged_appears_with_the_commit,
            Outbox.test_a_rollback_leaves_nothing,
            Outbox.test_a_cancellation_leaves_nothing,
        ),
    ),
    Guarantee(
        "For one key the order of the rows is the order of the commits.",
        (
            Outbox.test_transactions_of_one_key_wait_for_each_other,
            Outbox.test_a_reader_never_sees_a_key_go_back,
            Outbox.test_many_messages_keep_the_order_given,
        ),
    ),
    Guarantee(
        "Other keys do not wait, and no order of keys is a deadlock.",
        (Outbox.test_transactions_of_other_keys_do_not_wait, Outbox.test_keys_in_any_order_cause_no_deadlock),
    ),
    Guarantee(
        "A relay that lost its lease removes, postpones and buries nothing.",
        (Outbox.test_a_stale_token_changes_nothing, Outbox.test_leases_guard_their_own_partition_only),
    ),
    Guarantee("A message that is refused holds up its key alone.", (Outbox.test_a_postponed_row_blocks_its_key_alone,)),
    Guarantee(
        "A message that the broker will never take becomes a dead letter.",
        (Outbox.test_a_buried_row_becomes_a_dead_letter,),
    ),
)

_PROGRESS: Final = (
    Guarantee(
        "What is said to be settled is so: no message appears at or below it.",
        (
            Outbox.test_nothing_appears_at_or_below_what_was_settled,
            Outbox.test_an_open_transaction_holds_what_is_settled_below_its_positions,
            Outbox.test_a_blocked_key_holds_its_partition_below_it,
            Outbox.test_what_is_fetched_comes_with_what_is_settled,
        ),
    ),
    Guarantee(
        "What is published and was not said yet is said by whoever relays next.",
        (Outbox.test_what_is_owed_is_kept_until_it_is_paid,),
    ),
    Guarantee(
        "How far a consumer has read only rises, and moves with the effects.",
        (Progress.test_a_watermark_only_rises, Progress.test_progress_belongs_to_the_transaction),
    ),
    Guarantee(
        "A deferred message holds up its lane from there on, and no other.",
        (Progress.test_a_deferred_message_blocks_its_lane_from_there_on,),
    ),
)

_INBOX: Final = (
    Guarantee(
        "A message is handled once, also when it comes twice at the same time.",
        (
            Inbox.test_a_message_is_fresh_once,
            Inbox.test_a_key_twice_in_one_call_is_a_duplicate,
            Inbox.test_a_concurrent_duplicate_waits_and_gets_the_answer,
            Inbox.test_two_consumers_of_one_message_do_not_shadow_each_other,
        ),
    ),
    Guarantee(
        "An attempt that was rolled back leaves no receipt.",
        (
            Inbox.test_a_rolled_back_attempt_leaves_no_receipt,
            Inbox.test_a_concurrent_duplicate_is_fresh_after_a_rollback,
        ),
    ),
    Guarantee("A repeated request gets the answer that was given.", (Inbox.test_the_answer_is_given_again,)),
    Guarantee(
        "A compensation that comes before its action bars it for good.",
        (
            Inbox.test_a_compensation_before_its_action_bars_it,
            Inbox.test_a_compensation_waits_for_its_action_in_progress,
            Inbox.test_a_compensation_bars_an_action_that_was_rolled_back,
            Inbox.test_a_barred_action_keeps_its_answer,
        ),
    ),
    Guarantee(
        "Batches that overlap end, at worst with a conflict that is tried again.",
        (
            Inbox.test_overlapping_batches_do_not_lock_each_other_out,
            Inbox.test_a_circle_of_transactions_is_a_conflict,
        ),
    ),
    Guarantee(
        "A failing message holds up its key alone, and stays the first of it.",
        (
            Inbox.test_a_deferred_message_blocks_its_key_alone,
            Inbox.test_only_the_first_of_a_key_is_claimed,
            Inbox.test_a_try_comes_first_of_its_key,
        ),
    ),
    Guarantee("An attempt is counted before it begins.", (Inbox.test_a_try_is_counted_before_it_begins,)),
    Guarantee(
        "A deferred message is tried by one instance at a time; a stale claim ends nothing.",
        (
            Inbox.test_two_instances_never_claim_the_same_message,
            Inbox.test_a_stale_claim_ends_nothing,
            Inbox.test_a_message_being_finished_is_not_claimed,
        ),
    ),
    Guarantee("A receipt is kept for its whole window.", (Inbox.test_a_receipt_within_the_window_is_never_pruned,)),
)

_LETTERS: Final = (
    Guarantee(
        "A dead letter is written in the transaction that ends the message's way, as it arrived.",
        (DeadLetters.test_a_letter_belongs_to_the_transaction, DeadLetters.test_a_letter_comes_back_as_it_was),
    ),
    Guarantee("An edit keeps the original.", (DeadLetters.test_an_edit_keeps_the_original,)),
    Guarantee(
        "A letter is replayed or dropped once, whoever tries.",
        (DeadLetters.test_a_letter_ends_once, DeadLetters.test_two_people_cannot_replay_the_same_letter),
    ),
    Guarantee(
        "A letter that nobody has decided about is never pruned.",
        (DeadLetters.test_only_what_ended_long_ago_is_pruned,),
    ),
)

_SCHEDULE: Final = (
    Guarantee(
        "A message is scheduled, and taken back, with the commit.",
        (
            Schedule.test_a_rollback_schedules_nothing,
            Schedule.test_cancel_takes_it_back,
            Schedule.test_a_cancellation_rolls_back_too,
        ),
    ),
    Guarantee(
        "It moves when it is due, once, with any number of movers.",
        (
            Schedule.test_a_message_moves_when_it_is_due,
            Schedule.test_several_movers_move_each_message_once,
            Schedule.test_oldest_first,
        ),
    ),
)

_SAGA: Final = (
    Guarantee(
        "An instance begins once for an id, with the commit.",
        (Saga.test_an_instance_begins_once, Saga.test_a_rolled_back_creation_leaves_nothing),
    ),
    Guarantee(
        "Of several that advance an instance one wins, and the others change nothing.",
        (
            Saga.test_a_save_with_an_old_version_is_refused,
            Saga.test_one_of_many_savers_wins,
            Saga.test_a_loaded_instance_is_locked,
        ),
    ),
    Guarantee(
        "Timers come due by the database's time, for one engine.",
        (Saga.test_timers_come_due_by_the_databases_time, Saga.test_due_instances_are_claimed_by_one),
    ),
    Guarantee("The journal keeps its order.", (Saga.test_the_journal_keeps_its_order,)),
    Guarantee("Only instances that have ended are pruned.", (Saga.test_only_what_ended_long_ago_is_pruned,)),
)

_EVENTS: Final = (
    Guarantee(
        "A stream takes an append as it was expected to be, or the writer is told what it is.",
        (
            Events.test_what_is_expected_is_checked,
            Events.test_writers_of_a_stream_take_turns,
            Events.test_one_of_many_writers_of_a_version_wins,
        ),
    ),
    Guarantee(
        "Events of several streams, messages and the rest of the transaction are kept together or not at all.",
        (
            Events.test_several_streams_are_appended_together,
            Events.test_a_conflict_takes_all_streams_back,
            Events.test_an_appends_rollback_leaves_nothing,
            Events.test_a_cancelled_append_leaves_nothing,
        ),
    ),
    Guarantee(
        "Who reads all events skips none, and sees each stream in its order.",
        (
            Events.test_a_reader_skips_nothing_while_many_write,
            Events.test_what_is_not_committed_is_not_passed_over,
            Events.test_a_slow_append_that_is_rolled_back_hides_nothing,
            Events.test_an_append_after_a_commit_has_greater_positions,
        ),
    ),
    Guarantee(
        "Readers are held up by nobody but an append that is still open.",
        (Events.test_transactions_that_do_not_append_hold_nobody_up, Events.test_a_rolled_back_append_holds_nobody_up),
    ),
    Guarantee(
        "A filter by type, category, partition or time gives what is wanted and no more.",
        (
            Events.test_a_filter_gives_what_is_wanted,
            Events.test_a_span_of_time_gives_what_is_wanted,
            Events.test_partitions_share_the_streams,
        ),
    ),
    Guarantee("Streams in any order cause no deadlock.", (Events.test_streams_in_any_order_cause_no_deadlock,)),
)

_SNAPSHOTS: Final = (
    Guarantee(
        "A snapshot is kept with the commit, and never without it.",
        (Snapshots.test_a_snapshot_belongs_to_the_transaction,),
    ),
    Guarantee(
        "The newest of a stream and kind is kept, whoever is slow; another shape takes its place.",
        (
            Snapshots.test_an_older_snapshot_changes_nothing,
            Snapshots.test_two_that_save_one_snapshot_leave_the_newer,
            Snapshots.test_an_older_snapshot_of_another_shape_takes_the_place,
        ),
    ),
    Guarantee(
        "What does not fit can be thrown away, in the transaction that found it.",
        (
            Snapshots.test_a_discarded_snapshot_is_gone,
            Snapshots.test_a_discard_can_be_part_of_a_transaction,
            Snapshots.test_all_of_a_kind_are_discarded_in_bounded_portions,
        ),
    ),
)

_CHECKPOINTS: Final = (
    Guarantee(
        "Of several that go on from one checkpoint one does; the others wait for it, and write nothing.",
        (
            Checkpoints.test_an_overtaken_runner_moves_nothing,
            Checkpoints.test_a_held_checkpoint_makes_others_wait,
            Checkpoints.test_several_advance_or_none,
            Checkpoints.test_a_checkpoint_never_goes_back,
        ),
    ),
    Guarantee(
        "Whoever has not heard of a parked stream, a release, a pause or a switch writes nothing.",
        (
            Checkpoints.test_parking_is_noticed,
            Checkpoints.test_an_overtaken_runner_parks_nothing,
            Checkpoints.test_a_pause_is_noticed,
            Checkpoints.test_a_switch_is_noticed,
            Checkpoints.test_a_late_batch_waits_for_the_switch,
            Checkpoints.test_locked_checkpoints_stand_still,
        ),
    ),
    Guarantee(
        "A generation is made once, with its checkpoints, and at most one is live.",
        (Checkpoints.test_one_of_many_makes_a_generation, Checkpoints.test_one_generation_is_live),
    ),
)

_REPLAYS: Final = (
    Guarantee(
        "A replay's position, counts and errors move in the transaction of what they stand for, one process at a time.",
        (
            Replays.test_its_position_and_counts_move_on,
            Replays.test_of_two_who_work_on_one_the_later_is_refused,
            Replays.test_an_advance_is_taken_back_with_its_transaction,
        ),
    ),
    Guarantee(
        "A replay that was killed or cancelled goes on where it stood; its number is never given twice.",
        (
            Replays.test_a_cancelled_one_goes_on,
            Replays.test_one_that_has_ended_does_not_move,
            Replays.test_numbers_are_never_given_twice,
        ),
    ),
    Guarantee(
        "Events that failed are kept, listed in order, and go away with their replay.",
        (Replays.test_errors_are_listed_page_by_page, Replays.test_delete_takes_the_errors_along),
    ),
    Guarantee(
        "Only replays that have ended are pruned; those with tables of their own wait for a person.",
        (Replays.test_those_that_ended_long_ago_are_pruned,),
    ),
)

_LEASES: Final = (
    Guarantee("Of several challengers one takes a lease.", (Leases.test_one_challenger_wins,)),
    Guarantee("A holder that beats keeps its lease.", (Leases.test_a_beat_defends_a_lease,)),
    Guarantee(
        "Each take-over makes older tokens worthless, the owner's own among them.",
        (Leases.test_an_old_token_of_the_same_owner_is_stale, Leases.test_renew_tells_what_is_still_held),
    ),
    Guarantee("What is given back is free at once.", (Leases.test_give_back_clears_the_owner,)),
)

_IDEMPOTENCY: Final = (
    Guarantee(
        "The same key and request give the same answer and one effect.",
        (
            Idempotency.test_the_same_key_gives_the_same_answer,
            Idempotency.test_a_concurrent_request_waits_for_the_answer,
        ),
    ),
    Guarantee("The same key with another request is recognised.", (Idempotency.test_another_body_is_recognised,)),
    Guarantee(
        "A failed request does not use its key up.",
        (
            Idempotency.test_a_key_is_claimed_in_the_transaction_of_its_effect,
            Idempotency.test_a_concurrent_request_takes_over_after_a_rollback,
        ),
    ),
)

_AUDIT: Final = (
    Guarantee(
        "An action and its audit row are one transaction.",
        (Audit.test_an_entry_belongs_to_the_transaction_it_tells_of,),
    ),
)

_BROKER: Final = (
    Guarantee(
        "Messages of a key come in the order published, whoever joins and leaves.",
        (
            Broker.test_messages_of_a_key_come_in_the_order_published,
            Broker.test_order_of_a_key_holds_while_members_join_and_leave,
            Broker.test_settling_a_prefix_lets_the_rest_come_again_in_order,
        ),
    ),
    Guarantee(
        "Nothing of a key is stored behind one that failed.",
        (Broker.test_a_failure_stops_the_successors_of_its_key_only,),
    ),
    Guarantee(
        "What was confirmed is kept, through outages and the death of every process.",
        (
            Broker.test_confirmed_messages_outlive_everything,
            Broker.test_what_was_confirmed_before_and_during_an_outage_is_kept_in_order,
        ),
    ),
    Guarantee(
        "A partition has one holder; one that froze is replaced, and what it says later counts for nothing.",
        (
            Broker.test_a_partition_is_handed_out_once_and_others_beside_it,
            Broker.test_a_paused_member_is_replaced_and_its_late_settle_has_no_effect,
            Broker.test_a_frozen_process_is_replaced_and_its_late_settle_is_refused,
            Broker.test_a_zombie_that_settles_before_anybody_noticed_still_loses_nothing,
        ),
    ),
    Guarantee(
        "Members share the partitions, and one that leaves gives its own back at once.",
        (
            Broker.test_two_members_share_the_partitions,
            Broker.test_a_new_member_gets_its_share_at_once,
            Broker.test_closing_gives_the_partitions_back_at_once,
            Broker.test_a_live_member_keeps_its_batch_for_longer_than_the_lease,
        ),
    ),
    Guarantee(
        "Groups are independent, and go on where they were.",
        (
            Broker.test_groups_are_independent,
            Broker.test_a_group_goes_on_where_it_was,
            Broker.test_a_later_group_begins_where_it_says,
        ),
    ),
    Guarantee(
        "A message that kills its consumer is recognised.",
        (Broker.test_a_message_that_kills_its_consumer_is_recognised,),
    ),
    Guarantee(
        "An outage is told in bounded time, and passes.", (Broker.test_an_outage_is_told_in_bounded_time_and_passes,)
    ),
    Guarantee("What is kept is bounded.", (Broker.test_retention_is_bounded,)),
)

GUARANTEES: Final[tuple[Guarantee, ...]] = (
    *_DATABASE,
    *_OUTBOX,
    *_PROGRESS,
    *_INBOX,
    *_LETTERS,
    *_SCHEDULE,
    *_SAGA,
    *_EVENTS,
    *_SNAPSHOTS,
    *_CHECKPOINTS,
    *_REPLAYS,
    *_LEASES,
    *_IDEMPOTENCY,
    *_AUDIT,
    *_BROKER,
)
"""Every promise, in the order of the docs."""

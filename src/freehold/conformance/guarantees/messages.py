"""Guarantees of messages: outbox, progress, inbox, dead letters, schedule, broker. Imports the suites."""

from __future__ import annotations

from typing import Final

from freehold.conformance.broker import BrokerConformance as Broker
from freehold.conformance.deadletters import DeadLetterStoreConformance as DeadLetters
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.inbox import InboxStoreConformance as Inbox
from freehold.conformance.logs import BrokerLogStoreConformance as Logs
from freehold.conformance.outbox import OutboxStoreConformance as Outbox
from freehold.conformance.progress import ProgressStoreConformance as Progress
from freehold.conformance.schedule import ScheduleStoreConformance as Schedule
from freehold.conformance.sent import SentStoreConformance as Sent

__all__ = ["BROKER", "INBOX", "LETTERS", "OUTBOX", "PROGRESS", "SCHEDULE", "SENT"]

OUTBOX: Final = (
    Guarantee(
        "A message is staged with the commit, and only with it.",
        (
            Outbox.test_what_is_staged_appears_with_the_commit,
            Outbox.test_a_rollback_leaves_nothing,
            Outbox.test_a_cancellation_leaves_nothing,
            Outbox.test_what_is_staged_last_appears_with_the_commit,
            Outbox.test_a_rollback_leaves_nothing_that_was_staged_last,
            Outbox.test_nothing_is_staged_last_after_the_end,
        ),
    ),
    Guarantee(
        "For one key, the order of the rows is the order of the commits.",
        (
            Outbox.test_transactions_of_one_key_wait_for_each_other,
            Outbox.test_a_reader_never_sees_a_key_go_back,
            Outbox.test_many_messages_keep_the_order_given,
            Outbox.test_many_staged_last_keep_the_order_given,
            Outbox.test_a_last_write_waits_for_transactions_of_its_key,
        ),
    ),
    Guarantee(
        "Other keys do not wait, and no order of keys causes a deadlock.",
        (
            Outbox.test_transactions_of_other_keys_do_not_wait,
            Outbox.test_keys_in_any_order_cause_no_deadlock,
            Outbox.test_keys_in_any_order_staged_last_cause_no_deadlock,
        ),
    ),
    Guarantee(
        "A relay that lost its lease changes no row.",
        (Outbox.test_a_stale_token_changes_nothing, Outbox.test_leases_guard_their_own_partition_only),
    ),
    Guarantee("A message that is rejected blocks only its key.", (Outbox.test_a_rescheduled_row_blocks_its_key_alone,)),
    Guarantee(
        "A message that the broker will never accept becomes a dead letter.",
        (Outbox.test_a_rejected_row_becomes_a_dead_letter,),
    ),
)

SENT: Final = (
    Guarantee(
        "If a broker has lost its log, that is detected, reported once, and recorded until an operator has dealt"
        " with it.",
        (
            Logs.test_another_log_is_a_loss_once,
            Logs.test_a_loss_is_ended_by_whoever_has_seen_the_log_that_is_there,
            Logs.test_who_never_staged_has_lost_nothing,
        ),
    ),
    Guarantee(
        "No high-water mark is reported while a loss is open.",
        (Logs.test_no_high_water_mark_rises_while_a_loss_is_open,),
    ),
    Guarantee(
        "A confirmed message moves from the outbox to the sent messages in one step, and only under a valid lease.",
        (
            Sent.test_what_is_removed_is_kept_where_that_is_asked_for,
            Sent.test_a_stale_token_keeps_nothing,
            Sent.test_a_rollback_moves_nothing,
        ),
    ),
    Guarantee(
        "A resent message keeps its order and its position, and is published before messages that were staged later.",
        (
            Sent.test_sent_again_is_at_its_old_place,
            Sent.test_high_water_marks_stay_true_while_messages_are_sent_again,
        ),
    ),
    Guarantee(
        "A resend runs in steps, which may be repeated and run concurrently.",
        (
            Sent.test_steps_go_on_where_the_one_before_has_ended,
            Sent.test_two_at_once_send_each_message_again_once,
        ),
    ),
    Guarantee(
        "The age of a sent message counts from its first confirmation.",
        (Sent.test_only_what_was_confirmed_since_is_sent_again, Sent.test_prune_deletes_the_oldest),
    ),
)

PROGRESS: Final = (
    Guarantee(
        "No message appears at or below a reported high-water mark.",
        (
            Outbox.test_no_row_appears_at_or_below_a_high_water_mark,
            Outbox.test_last_writes_of_one_row_keep_the_marks_and_the_order_of_a_key,
            Outbox.test_an_open_transaction_holds_the_high_water_mark_below_it,
            Outbox.test_a_blocked_key_holds_its_partition_below_it,
            Outbox.test_a_batch_comes_with_high_water_marks,
        ),
    ),
    Guarantee(
        "A pending watermark is published by the next relay.",
        (Outbox.test_a_pending_watermark_is_kept_until_it_is_published,),
    ),
    Guarantee(
        "A consumer's progress only increases, and is committed with the effects.",
        (Progress.test_a_watermark_only_rises, Progress.test_progress_belongs_to_the_transaction),
    ),
    Guarantee(
        "A deferred message blocks its lane from its position on, and no other lane.",
        (Progress.test_a_deferred_message_blocks_its_lane_from_there_on,),
    ),
)

INBOX: Final = (
    Guarantee(
        "A message is handled once, also if it is delivered twice at the same time.",
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
    Guarantee("A repeated request gets the reply that was given.", (Inbox.test_the_answer_is_given_again,)),
    Guarantee(
        "An action is never run after its compensation.",
        (
            Inbox.test_a_compensation_before_its_action_cancels_it,
            Inbox.test_a_compensation_waits_for_its_action_in_progress,
            Inbox.test_a_compensation_cancels_an_action_that_was_rolled_back,
            Inbox.test_a_cancelled_action_keeps_its_answer,
        ),
    ),
    Guarantee(
        "Overlapping batches finish, at worst with a conflict that is retried.",
        (
            Inbox.test_overlapping_batches_do_not_lock_each_other_out,
            Inbox.test_a_circle_of_transactions_is_a_conflict,
        ),
    ),
    Guarantee(
        "A failing message blocks only its key, and stays the first of it.",
        (
            Inbox.test_a_deferred_message_blocks_its_key_alone,
            Inbox.test_only_the_first_of_a_key_is_claimed,
            Inbox.test_a_try_comes_first_of_its_key,
        ),
    ),
    Guarantee("An attempt is counted before it begins.", (Inbox.test_a_try_is_counted_before_it_begins,)),
    Guarantee(
        "An attempt that did not begin, or that an outage ended, is not counted.",
        (Inbox.test_a_claim_that_is_given_back_counts_for_no_attempt,),
    ),
    Guarantee(
        "A deferred message is retried by one instance at a time; a stale claim cannot finish it.",
        (
            Inbox.test_two_instances_never_claim_the_same_message,
            Inbox.test_a_stale_claim_ends_nothing,
            Inbox.test_a_message_being_finished_is_not_claimed,
        ),
    ),
    Guarantee(
        "A receipt is kept for its whole window, also when other consumers prune.",
        (
            Inbox.test_a_receipt_within_the_window_is_never_pruned,
            Inbox.test_a_consumer_prunes_its_own_receipts_only,
        ),
    ),
)

LETTERS: Final = (
    Guarantee(
        "A dead letter is written in the transaction that removes the message, as the message arrived.",
        (DeadLetters.test_a_letter_belongs_to_the_transaction, DeadLetters.test_a_letter_comes_back_as_it_was),
    ),
    Guarantee("An edit keeps the original.", (DeadLetters.test_an_edit_keeps_the_original,)),
    Guarantee(
        "A dead letter is replayed or discarded once, although several operators try.",
        (DeadLetters.test_a_letter_ends_once, DeadLetters.test_two_people_cannot_replay_the_same_letter),
    ),
    Guarantee(
        "A dead letter is pruned only after an operator has replayed or discarded it.",
        (DeadLetters.test_only_what_ended_long_ago_is_pruned,),
    ),
)

SCHEDULE: Final = (
    Guarantee(
        "A message is scheduled, and cancelled, with the commit.",
        (
            Schedule.test_a_rollback_schedules_nothing,
            Schedule.test_cancel_takes_it_back,
            Schedule.test_a_cancellation_rolls_back_too,
        ),
    ),
    Guarantee(
        "A scheduled message moves to the outbox once, when it is due, with any number of runners.",
        (
            Schedule.test_a_message_moves_when_it_is_due,
            Schedule.test_several_movers_move_each_message_once,
            Schedule.test_oldest_first,
        ),
    ),
)

BROKER: Final = (
    Guarantee(
        "Messages of a key are delivered in the order published, while members join and leave.",
        (
            Broker.test_messages_of_a_key_come_in_the_order_published,
            Broker.test_order_of_a_key_holds_while_members_join_and_leave,
            Broker.test_acking_a_prefix_lets_the_rest_come_again_in_order,
        ),
    ),
    Guarantee(
        "No message of a key is stored behind one that failed.",
        (Broker.test_a_failure_stops_the_successors_of_its_key_only,),
    ),
    Guarantee(
        "Confirmed messages are kept through outages and the crash of every process.",
        (
            Broker.test_confirmed_messages_outlive_everything,
            Broker.test_what_was_confirmed_before_and_during_an_outage_is_kept_in_order,
        ),
    ),
    Guarantee(
        "A partition has one holder; a frozen one is replaced, and its late acks are rejected.",
        (
            Broker.test_a_partition_is_handed_out_once_and_others_beside_it,
            Broker.test_a_paused_member_is_replaced_and_its_late_ack_has_no_effect,
            Broker.test_a_frozen_process_is_replaced_and_its_late_ack_is_refused,
            Broker.test_a_zombie_that_acks_before_anybody_noticed_still_loses_nothing,
        ),
    ),
    Guarantee(
        "Members share the partitions, and a member that leaves releases its partitions at once.",
        (
            Broker.test_two_members_share_the_partitions,
            Broker.test_a_new_member_gets_its_share_at_once,
            Broker.test_closing_gives_the_partitions_back_at_once,
            Broker.test_a_live_member_keeps_its_batch_for_longer_than_the_lease,
        ),
    ),
    Guarantee(
        "Groups are independent, and continue at their positions.",
        (
            Broker.test_groups_are_independent,
            Broker.test_a_group_goes_on_where_it_was,
            Broker.test_a_later_group_begins_where_it_says,
        ),
    ),
    Guarantee(
        "A message that crashes its consumer is detected.",
        (Broker.test_a_message_that_kills_its_consumer_is_recognised,),
    ),
    Guarantee(
        "A delivery that was not handled for another reason is not counted as an attempt.",
        (
            Broker.test_what_was_kept_from_being_handled_counts_for_no_attempt,
            Broker.test_what_counts_for_no_attempt_is_told_to_a_broker_that_comes_back,
        ),
    ),
    Guarantee(
        "An outage is reported within a time limit, and ends when the broker is back.",
        (Broker.test_an_outage_is_told_in_bounded_time_and_passes,),
    ),
    Guarantee(
        "If a broker lost everything, running services restore it; positions and acks of the lost log do not count"
        " in the next one.",
        (
            Broker.test_after_each_of_three_wipes_all_groups_go_on_in_order,
            Broker.test_a_wiped_log_has_another_identity_and_its_positions_pass_over_nothing,
            Broker.test_a_batch_of_a_wiped_log_acknowledges_nothing_of_the_next,
            Broker.test_a_group_that_began_at_the_latest_is_at_the_beginning_of_a_log_that_follows_a_wipe,
        ),
    ),
    Guarantee("The retention limits how much is kept.", (Broker.test_retention_is_bounded,)),
)

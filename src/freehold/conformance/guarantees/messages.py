"""What is promised of messages on their way: outbox, progress, inbox, dead letters, schedule, broker.

Imports the suites.
"""

from __future__ import annotations

from typing import Final

from freehold.conformance.broker import BrokerConformance as Broker
from freehold.conformance.deadletters import DeadLetterStoreConformance as DeadLetters
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.inbox import InboxStoreConformance as Inbox
from freehold.conformance.outbox import OutboxStoreConformance as Outbox
from freehold.conformance.progress import ProgressStoreConformance as Progress
from freehold.conformance.schedule import ScheduleStoreConformance as Schedule

__all__ = ["BROKER", "INBOX", "LETTERS", "OUTBOX", "PROGRESS", "SCHEDULE"]

OUTBOX: Final = (
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

PROGRESS: Final = (
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

INBOX: Final = (
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
    Guarantee(
        "A receipt is kept for its whole window, whatever other consumers prune.",
        (
            Inbox.test_a_receipt_within_the_window_is_never_pruned,
            Inbox.test_a_consumer_prunes_its_own_receipts_only,
        ),
    ),
)

LETTERS: Final = (
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

SCHEDULE: Final = (
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

BROKER: Final = (
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

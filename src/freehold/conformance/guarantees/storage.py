"""Guarantees of sagas, events, snapshots, checkpoints and replays. Imports the suites."""

from __future__ import annotations

from typing import Final

from freehold.conformance.checkpoints import CheckpointStoreConformance as Checkpoints
from freehold.conformance.events import EventStoreConformance as Events
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.replays import ReplayStoreConformance as Replays
from freehold.conformance.saga import SagaStoreConformance as Saga
from freehold.conformance.snapshots import SnapshotStoreConformance as Snapshots

__all__ = ["CHECKPOINTS", "EVENTS", "REPLAYS", "SAGA", "SNAPSHOTS"]

SAGA: Final = (
    Guarantee(
        "An instance with a given id begins once, with the commit.",
        (Saga.test_an_instance_begins_once, Saga.test_a_rolled_back_creation_leaves_nothing),
    ),
    Guarantee(
        "If several writers advance an instance, one succeeds and the others change nothing.",
        (
            Saga.test_a_save_with_an_old_version_is_refused,
            Saga.test_one_of_many_savers_wins,
            Saga.test_a_stale_version_that_is_saved_last_leaves_nothing,
            Saga.test_a_loaded_instance_is_locked,
        ),
    ),
    Guarantee(
        "Timers become due by the database's time, and one saga engine claims each.",
        (Saga.test_timers_come_due_by_the_databases_time, Saga.test_due_instances_are_claimed_by_one),
    ),
    Guarantee("The journal keeps its order.", (Saga.test_the_journal_keeps_its_order,)),
    Guarantee("Only instances that have ended are pruned.", (Saga.test_only_what_ended_long_ago_is_pruned,)),
)

EVENTS: Final = (
    Guarantee(
        "An append succeeds if the stream has the expected version; otherwise the writer gets the actual one.",
        (
            Events.test_what_is_expected_is_checked,
            Events.test_writers_of_a_stream_take_turns,
            Events.test_one_of_many_writers_of_a_version_wins,
        ),
    ),
    Guarantee(
        "Events of several streams, messages and the rest of the transaction are committed together or not at all.",
        (
            Events.test_several_streams_are_appended_together,
            Events.test_a_conflict_takes_all_streams_back,
            Events.test_an_appends_rollback_leaves_nothing,
            Events.test_a_cancelled_append_leaves_nothing,
        ),
    ),
    Guarantee(
        "A reader of all events skips none, and gets each stream in order.",
        (
            Events.test_a_reader_skips_nothing_while_many_write,
            Events.test_what_is_not_committed_is_not_passed_over,
            Events.test_a_slow_append_that_is_rolled_back_hides_nothing,
            Events.test_an_append_after_a_commit_has_greater_positions,
        ),
    ),
    Guarantee(
        "Only an append that is still open makes readers wait.",
        (Events.test_transactions_that_do_not_append_hold_nobody_up, Events.test_a_rolled_back_append_holds_nobody_up),
    ),
    Guarantee(
        "A filter by type, category, partition or time returns exactly the matching events.",
        (
            Events.test_a_filter_gives_what_is_wanted,
            Events.test_a_span_of_time_gives_what_is_wanted,
            Events.test_partitions_share_the_streams,
        ),
    ),
    Guarantee("Streams in any order cause no deadlock.", (Events.test_streams_in_any_order_cause_no_deadlock,)),
)

SNAPSHOTS: Final = (
    Guarantee(
        "A snapshot is stored with the commit, and only with it.",
        (Snapshots.test_a_snapshot_belongs_to_the_transaction,),
    ),
    Guarantee(
        "The newest snapshot of a stream and kind is kept, although a slow writer saves an older one later; one with"
        " another fingerprint replaces it.",
        (
            Snapshots.test_an_older_snapshot_changes_nothing,
            Snapshots.test_two_that_save_one_snapshot_leave_the_newer,
            Snapshots.test_an_older_snapshot_of_another_shape_takes_the_place,
        ),
    ),
    Guarantee(
        "A snapshot that does not match can be deleted, in the transaction that found it.",
        (
            Snapshots.test_a_discarded_snapshot_is_gone,
            Snapshots.test_a_discard_can_be_part_of_a_transaction,
            Snapshots.test_all_of_a_kind_are_discarded_in_bounded_portions,
            Snapshots.test_discarding_a_kind_can_be_part_of_a_transaction,
            Snapshots.test_kinds_are_counted,
        ),
    ),
)

CHECKPOINTS: Final = (
    Guarantee(
        "Only one writer advances a checkpoint; the others wait for it, and write nothing.",
        (
            Checkpoints.test_an_overtaken_runner_moves_nothing,
            Checkpoints.test_a_held_checkpoint_makes_others_wait,
            Checkpoints.test_several_advance_or_none,
            Checkpoints.test_a_checkpoint_never_goes_back,
        ),
    ),
    Guarantee(
        "A runner that has not read a parked stream, its release, a pause or a switch writes nothing.",
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
        "A runner that takes over a checkpoint detects that the previous runner was interrupted there; only progress"
        " clears that.",
        (
            Checkpoints.test_what_is_begun_is_written_down_beforehand,
            Checkpoints.test_progress_makes_void_what_was_begun,
            Checkpoints.test_an_overtaken_runner_begins_nothing,
            Checkpoints.test_what_is_begun_goes_with_a_rollback,
        ),
    ),
    Guarantee(
        "A generation is created once, with its checkpoints, and at most one is live.",
        (Checkpoints.test_one_of_many_makes_a_generation, Checkpoints.test_one_generation_is_live),
    ),
)

REPLAYS: Final = (
    Guarantee(
        "A replay's position, counts and errors change in the transaction of the events that they count, by one"
        " process at a time.",
        (
            Replays.test_its_position_and_counts_move_on,
            Replays.test_of_two_who_work_on_one_the_later_is_refused,
            Replays.test_an_advance_is_taken_back_with_its_transaction,
        ),
    ),
    Guarantee(
        "A process that resumes a replay detects that the previous one was interrupted.",
        (Replays.test_what_is_begun_is_void_once_it_moves,),
    ),
    Guarantee(
        "A replay that was killed or cancelled continues at its position; its number is never used twice.",
        (
            Replays.test_a_cancelled_one_goes_on,
            Replays.test_one_that_has_ended_does_not_move,
            Replays.test_numbers_are_never_given_twice,
        ),
    ),
    Guarantee(
        "Events that failed are stored, listed in order, and deleted with their replay.",
        (Replays.test_errors_are_listed_page_by_page, Replays.test_delete_takes_the_errors_along),
    ),
    Guarantee(
        "Only replays that have ended are pruned; those with tables of their own are kept until an operator drops"
        " them.",
        (Replays.test_those_that_ended_long_ago_are_pruned,),
    ),
)

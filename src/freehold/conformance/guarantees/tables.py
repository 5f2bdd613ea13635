"""Guarantees of a service's own tables and replicas: SQL statements, read models, views, comparisons. Imports the
suites.
"""

from __future__ import annotations

from typing import Final

from freehold.conformance.datasets import DatasetStoreConformance as Datasets
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.read_models import ReadModelStoreConformance as ReadModels
from freehold.conformance.reconciliations import ReconciliationStoreConformance as Reconciliations
from freehold.conformance.sql import SqlConformance as Sql
from freehold.conformance.views import ViewStoreConformance as Views

__all__ = ["COMPARISONS", "DATASETS", "READ_MODELS", "SQL", "VIEWS"]

COMPARISONS: Final = (
    Guarantee(
        "Every instance reads the newest result of a dataset as it was stored, errors included.",
        (Reconciliations.test_the_last_result_of_a_dataset_is_found,),
    ),
    Guarantee(
        "The newest result of each dataset is never pruned.",
        (Reconciliations.test_prune_leaves_each_dataset_its_newest,),
    ),
)

SQL: Final = (
    Guarantee(
        "Outside of a transaction each statement commits by itself.", (Sql.test_a_direct_statement_commits_by_itself,)
    ),
    Guarantee(
        "The statements of a transaction are committed or rolled back together.",
        (Sql.test_a_database_transaction_is_one_of_the_engine, Sql.test_many_rows_are_written_or_none),
    ),
    Guarantee("The text of an error contains no values.", (Sql.test_an_error_is_told_without_values,)),
    Guarantee(
        "No statement is run after the end of its block or transaction.", (Sql.test_nothing_is_run_after_the_end,)
    ),
)

READ_MODELS: Final = (
    Guarantee(
        "Generations and replays have tables of their own; the plain name reads the live generation.",
        (
            ReadModels.test_places_stand_beside_each_other,
            ReadModels.test_columns_may_come_and_go,
            ReadModels.test_constraints_are_those_that_were_declared,
        ),
    ),
    Guarantee(
        "Read models are created, shown and dropped in the caller's transaction.",
        (ReadModels.test_a_rollback_takes_all_of_it_back,),
    ),
    Guarantee("A step that was interrupted can be repeated.", (ReadModels.test_each_step_may_be_repeated,)),
    Guarantee(
        "A table that does not belong to a read model is neither used nor dropped.",
        (
            ReadModels.test_a_table_that_nobody_knows_of_is_not_taken,
            ReadModels.test_a_table_in_the_way_of_a_view_is_left_alone,
        ),
    ),
    Guarantee(
        "The rows of a key are found by its text, and deleted in one generation only.",
        (ReadModels.test_a_key_is_read_from_a_text, ReadModels.test_rows_are_deleted_by_values_of_a_column),
    ),
)

VIEWS: Final = (
    Guarantee(
        "A view keeps the result of its query until it is refreshed, and records the time of the refresh.",
        (Views.test_a_view_keeps_its_result_until_it_is_refreshed,),
    ),
    Guarantee("A view whose declaration has changed is rebuilt.", (Views.test_another_definition_builds_it_anew,)),
    Guarantee(
        "A refresh that fails leaves the old rows, and its error contains no values.",
        (
            Views.test_a_failure_is_kept_and_the_old_rows_stay,
            Views.test_a_view_that_was_never_built_shows_its_error,
            Views.test_of_two_that_refresh_at_once_none_does_harm,
        ),
    ),
    Guarantee(
        "An object that has the name of a view and is none is not changed.",
        (Views.test_a_name_that_is_taken_is_left_alone,),
    ),
)

DATASETS: Final = (
    Guarantee(
        "A range of keys means the same rows on every engine: keys are compared by their bytes.",
        (Datasets.test_pages_are_in_the_order_of_bytes, Datasets.test_rows_are_found_by_their_keys),
    ),
    Guarantee(
        "A value that is read from one engine can be written to another, and both compare equal.",
        (Datasets.test_values_come_and_go_in_one_form,),
    ),
    Guarantee(
        "A repair writes a row only if it is still as it was compared; a row that has changed since is kept.",
        (
            Datasets.test_each_kind_of_drift_is_repaired,
            Datasets.test_a_row_that_was_changed_meanwhile_stays,
            Datasets.test_a_row_under_repair_is_held,
            Datasets.test_a_row_that_is_being_changed_is_waited_for,
        ),
    ),
    Guarantee("A repair is part of its transaction.", (Datasets.test_a_repair_belongs_to_its_transaction,)),
    Guarantee(
        "Columns and values that cannot be compared are refused.",
        (
            Datasets.test_a_value_of_another_kind_is_refused,
            Datasets.test_keys_that_are_no_texts_are_refused,
            Datasets.test_a_table_that_is_not_there_is_an_error,
        ),
    ),
)

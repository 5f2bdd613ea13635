"""What is promised of a service's own tables: statements in SQL, read models, materialised views, datasets. Imports the
suites.
"""

from __future__ import annotations

from typing import Final

from freehold.conformance.datasets import DatasetStoreConformance as Datasets
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.read_models import ReadModelStoreConformance as ReadModels
from freehold.conformance.sql import SqlConformance as Sql
from freehold.conformance.views import ViewStoreConformance as Views

__all__ = ["DATASETS", "READ_MODELS", "SQL", "VIEWS"]

SQL: Final = (
    Guarantee(
        "Outside of a transaction each statement commits by itself.", (Sql.test_a_direct_statement_commits_by_itself,)
    ),
    Guarantee(
        "The statements of a transaction are committed or rolled back together.",
        (Sql.test_a_database_transaction_is_one_of_the_engine, Sql.test_many_rows_are_written_or_none),
    ),
    Guarantee("The text of an error holds no values.", (Sql.test_an_error_is_told_without_values,)),
    Guarantee(
        "No statement is run after the end of its block or transaction.", (Sql.test_nothing_is_run_after_the_end,)
    ),
)

READ_MODELS: Final = (
    Guarantee(
        "Generations and replays have tables of their own; the plain name reads the generation that is shown.",
        (
            ReadModels.test_places_stand_beside_each_other,
            ReadModels.test_columns_may_come_and_go,
            ReadModels.test_constraints_are_those_that_were_declared,
        ),
    ),
    Guarantee(
        "Making, showing and dropping them is part of a transaction.",
        (ReadModels.test_a_rollback_takes_all_of_it_back,),
    ),
    Guarantee("A step that was cut short is done again.", (ReadModels.test_each_step_may_be_repeated,)),
    Guarantee(
        "A table that is not a read model's is neither taken nor dropped.",
        (
            ReadModels.test_a_table_that_nobody_knows_of_is_not_taken,
            ReadModels.test_a_table_in_the_way_of_a_view_is_left_alone,
        ),
    ),
    Guarantee(
        "The rows of a key are found by its name, and deleted in one generation alone.",
        (ReadModels.test_a_key_is_read_from_a_text, ReadModels.test_rows_are_deleted_by_values_of_a_column),
    ),
)

VIEWS: Final = (
    Guarantee(
        "A view keeps the result of its query until it is refreshed, and says when that was.",
        (Views.test_a_view_keeps_its_result_until_it_is_refreshed,),
    ),
    Guarantee("A view whose declaration has changed is rebuilt.", (Views.test_another_definition_builds_it_anew,)),
    Guarantee(
        "A refresh that fails leaves the old rows, and is told without values.",
        (
            Views.test_a_failure_is_kept_and_the_old_rows_stay,
            Views.test_a_view_that_was_never_built_shows_its_error,
            Views.test_of_two_that_refresh_at_once_none_does_harm,
        ),
    ),
    Guarantee(
        "What has the name of a view and is none is left alone.", (Views.test_a_name_that_is_taken_is_left_alone,)
    ),
)

DATASETS: Final = (
    Guarantee(
        "A range of keys means the same rows on every engine: keys are compared by their bytes.",
        (Datasets.test_pages_are_in_the_order_of_bytes, Datasets.test_rows_are_found_by_their_keys),
    ),
    Guarantee(
        "A value that one engine gives, another one takes, and both compare equal.",
        (Datasets.test_values_come_and_go_in_one_form,),
    ),
    Guarantee(
        "A repair writes a row only where it is as it was compared; what has changed since stays.",
        (
            Datasets.test_each_kind_of_drift_is_repaired,
            Datasets.test_a_row_that_was_changed_meanwhile_stays,
            Datasets.test_a_row_under_repair_is_held,
            Datasets.test_a_row_that_is_being_changed_is_waited_for,
        ),
    ),
    Guarantee("A repair is part of its transaction.", (Datasets.test_a_repair_belongs_to_its_transaction,)),
    Guarantee(
        "What cannot be compared is refused.",
        (
            Datasets.test_a_value_of_another_kind_is_refused,
            Datasets.test_keys_that_are_no_texts_are_refused,
            Datasets.test_a_table_that_is_not_there_is_an_error,
        ),
    ),
)

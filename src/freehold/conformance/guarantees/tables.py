"""What is promised of a service's own tables: statements in SQL, datasets. Imports the suites."""

from __future__ import annotations

from typing import Final

from freehold.conformance.datasets import DatasetStoreConformance as Datasets
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.sql import SqlConformance as Sql

__all__ = ["DATASETS", "SQL"]

SQL: Final = (
    Guarantee(
        "Outside of a transaction each statement commits by itself.", (Sql.test_a_direct_statement_commits_by_itself,)
    ),
    Guarantee(
        "The statements of a transaction are committed or rolled back together.",
        (Sql.test_a_unit_of_work_has_one_transaction, Sql.test_many_rows_are_written_or_none),
    ),
    Guarantee("The text of an error holds no values.", (Sql.test_an_error_is_told_without_values,)),
    Guarantee(
        "No statement is run after the end of its block or transaction.", (Sql.test_nothing_is_run_after_the_end,)
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

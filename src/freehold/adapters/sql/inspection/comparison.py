"""Compares two catalogues; returns the differences with the statements that repair them. Imports the database port, and
its siblings `catalogue` and `violations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from freehold.adapters.sql.inspection.catalogue import Catalogue, Column, Constraint, Kind, Part, Rule, Table, quoted
from freehold.adapters.sql.inspection.violations import of_check, of_foreign_key, of_key, of_not_null
from freehold.database import Defect

__all__ = ["Deviation", "compare", "with_tokens_after"]

_DISPENSABLE: Final = frozenset({"freehold_lease", "freehold_snapshot"})
"""Tables of Freehold that may be created again empty: leases are acquired again, snapshots computed from events."""
_NO_TOKEN_YET: Final = re.compile(r"(?<=\btoken )(\w+) NOT NULL DEFAULT 0\b", re.IGNORECASE)
_TOKEN: Final = ("freehold_lease", "token")
"""Its default is not compared: it is another one in a table that was made again (`with_tokens_after`)."""
_SERVICE: Final = "service/"
_WORD: Final = re.compile(r"\w+")
_SETS: Final = "freehold db upgrade sets it again"


@dataclass(frozen=True, slots=True)
class Deviation:
    """A defect with its repair.

    statements  repair it; empty where a repair could lose data.
    violations  a query for the number of rows that would make the statements fail.
    closer      it was found by `look_closer`, not in the engine's catalogue.
    """

    defect: Defect
    statements: Sequence[str] = ()
    violations: str = ""
    closer: bool = False

    def violated(self, rows: int) -> Deviation:
        """The same defect without a repair, because so many rows violate the constraint."""
        violating = "1 row violates" if rows == 1 else f"{rows} rows violate"
        fix = f"{violating} it: correct them ({self.violations}), then run freehold db upgrade"
        return replace(self, defect=replace(self.defect, fix=fix, lossless=False), statements=())


def compare(expected: Catalogue, found: Catalogue, *, alters: bool) -> list[Deviation]:
    """The differences between the two catalogues, tables first. `alters`: ALTER TABLE can change a column."""
    deviations: list[Deviation] = []
    for name, table in expected.tables.items():
        there = found.tables.get(name)
        if there is None and (Kind.VIEW, name) in found.parts:
            continue  # an operator has replaced the table by a view
        if there is None:
            deviations.append(_lost_table(name, table))
        else:
            deviations += _Comparison(name, table, there, expected, alters=alters).deviations()
    lost = expected.tables.keys() - found.tables.keys() - _DISPENSABLE
    for place, part in expected.parts.items():
        words = {word for text in part.statements for word in _WORD.findall(text)}
        deviation = _part(part, found.parts.get(place), waits_for=sorted(words & lost))
        if deviation is not None:
            deviations.append(deviation)
    return deviations


def with_tokens_after(statement: str, seconds: int) -> str:
    """The statement that creates the table of leases, with tokens that start above all earlier ones.

    A relay that was frozen may still have a token of the lost table, and no new lease may have the same one. The first
    token is the time in seconds: a lease is acquired less than once a second, so no earlier token was as high.
    """
    return _NO_TOKEN_YET.sub(rf"\g<1> NOT NULL DEFAULT {seconds}", statement)


def _lost_table(name: str, table: Table) -> Deviation:
    if name in _DISPENSABLE:
        return _deviation(f"table {name}", "is missing", table.step, statements=table.statements)
    fix = (
        f"its rows are lost: restore {name} from a backup, then run freehold db upgrade, which does not create the"
        " table empty"
    )
    if table.step.startswith(_SERVICE):
        fix += f"; if it was dropped on purpose, drop it in a migration: DROP TABLE IF EXISTS {name}"
    return _deviation(f"table {name}", "is missing", table.step, fix=fix)


class _Comparison:
    """The comparison of one table with the existing one (`there`)."""

    def __init__(self, name: str, table: Table, there: Table, expected: Catalogue, *, alters: bool) -> None:
        self._name = name
        self._table = table
        self._there = there
        self._expected = expected
        self._alters = alters
        self._again = f"restore {name} from a backup"

    def deviations(self) -> Iterator[Deviation]:
        """The differences; columns first, because keys and constraints need them."""
        for column, wanted in self._table.columns.items():
            yield from self._column(column, wanted, self._there.columns.get(column))
        yield from self._keys()
        yield from self._constraints()
        if self._table.lasting and self._there.lasting is False:
            problem = "is unlogged: its rows are lost when the server crashes"
            yield self._altered(f"table {self._name}", problem, "SET LOGGED", fix=_SETS, vital=False)
        if self._table.options != self._there.options:
            problem = f"was made with '{self._there.options}' instead of '{self._table.options}'"
            fix = f"{self._again}, or create the table again as in the migrations"
            yield _deviation(f"table {self._name}", problem, self._table.step, fix=fix, vital=False)

    def _altered(
        self, subject: str, problem: str, *changes: str, fix: str = "", violations: str = "", vital: bool = True
    ) -> Deviation:
        """A defect that ALTER TABLE repairs, on an engine that can."""
        if self._alters:
            statements = [f"ALTER TABLE {quoted(self._name)} {each}" for each in changes]
            return _deviation(subject, problem, self._table.step, fix=fix, statements=statements,
                              violations=violations, vital=vital)  # fmt: skip
        fix = f"{self._again}, or create the table again as in the migrations"
        return _deviation(subject, problem, self._table.step, fix=fix, vital=vital)

    def _column(self, column: str, wanted: Column, has: Column | None) -> Iterator[Deviation]:
        name, step = self._name, self._table.step
        subject = f"column {name}.{column}"
        alter = f"ALTER COLUMN {quoted(column)}"
        if has is None:
            fix = f"its values are lost: {self._again}, or add it by hand: ALTER TABLE {name} ADD COLUMN"
            yield _deviation(subject, "is missing", step, fix=f"{fix} {wanted.text}")
            return
        if None not in {wanted.type, has.type} and wanted.type != has.type:
            problem = f"has the type {has.type or 'of none'} instead of {wanted.type}"
            change = f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {wanted.type}"
            fix = change if self._alters else f"{self._again}, or create it again with that type"
            yield _deviation(subject, problem, step, fix=fix, vital=False)
        elif None not in {wanted.collation, has.collation} and wanted.collation != has.collation:
            problem = f"has the collation {has.collation or 'default'} instead of {wanted.collation or 'default'}"
            change = f"{alter} TYPE {wanted.type} COLLATE {quoted(wanted.collation or 'default')}"
            yield self._altered(subject, problem, change, fix=_SETS, vital=False)
        if None not in {wanted.required, has.required} and wanted.required != has.required:
            problem = "may be NULL" if wanted.required else "may not be NULL"
            change = f"{alter} {'SET' if wanted.required else 'DROP'} NOT NULL"
            count = of_not_null(name, column) if wanted.required else ""
            yield self._altered(subject, problem, change, fix=_SETS, violations=count, vital=not wanted.required)
        yield from self._default(column, alter, wanted, has)

    def _default(self, column: str, alter: str, wanted: Column, has: Column) -> Iterator[Deviation]:
        subject = f"column {self._name}.{column}"
        change = f"{alter} SET DEFAULT {wanted.default_sql}"
        if wanted.default and has.default is False and wanted.default_sql:
            yield self._altered(subject, "has no default any more", change, fix=_SETS)
        elif (
            None not in {wanted.default_text, has.default_text}
            and wanted.default_text != has.default_text
            and (self._name, column) != _TOKEN
        ):
            problem = f"has the default {has.default_sql} instead of {wanted.default_sql}"
            yield self._altered(subject, problem, change, fix=_SETS, vital=False)
        lacks = [word for word in ("default", "identity") if getattr(wanted, word) and getattr(has, word) is False]
        for word in lacks:
            if word == "identity" or not wanted.default_sql:
                fix = f"{self._again}, or restore it by hand, as in: {wanted.text}"
                yield _deviation(subject, f"has no {word} any more", self._table.step, fix=fix)

    def _keys(self) -> Iterator[Deviation]:
        there, name = self._there, self._name
        wanted = [("primary key", columns) for columns in [self._table.key] if columns]
        wanted += [("unique constraint", columns) for columns in sorted(self._table.uniques)]
        for word, columns in wanted:
            primary = word == "primary key"
            known = set(columns) <= set(there.columns)
            if there.key == columns or (not primary and columns in there.uniques) or not known:
                continue
            subject = f"{word} ({', '.join(columns)}) of {name}"
            clause = f"{'PRIMARY KEY' if primary else 'UNIQUE'} ({', '.join(quoted(each) for each in columns)})"
            if primary and there.key:
                fix = f"the primary key is ({', '.join(there.key)}): replace it by hand, with {clause}"
                yield _deviation(subject, "is missing", self._table.step, fix=fix)
                continue
            count = of_key(name, columns, primary=primary)
            yield self._altered(subject, "is missing", f"ADD {clause}", violations=count)

    def _constraints(self) -> Iterator[Deviation]:
        """Constraints are matched by definition, then by name or columns. One without a comparable definition counts as
        unchanged.
        """
        left = list(self._there.constraints)
        wanting: list[Constraint] = []
        for wanted in self._table.constraints:
            same = [has for has in left if has.rule is wanted.rule and has.definition == wanted.definition]
            if not wanted.definition or not same:
                wanting.append(wanted)
                continue
            left.remove(same[0])
            yield from self._unvalidated(wanted, same[0])
        for wanted in sorted(wanting, key=lambda each: bool(each.definition)):
            if not set(wanted.columns) <= set(self._there.columns):
                continue
            like = next((has for has in left if self._stands_for(wanted, has)), None)
            subject = f"{wanted.rule} {wanted.condition or _columns_of(wanted)} of {self._name}"
            if like is None:
                yield self._altered(subject, "is missing", f"ADD {wanted.text}", violations=self._against(wanted))
                continue
            left.remove(like)
            if not wanted.definition:
                yield from self._unvalidated(wanted, like)
                continue
            changes = (f"DROP CONSTRAINT {quoted(like.name)}", f"ADD {wanted.text}")
            problem = f"differs from its migration: {like.text}"
            yield self._altered(subject, problem, *changes, violations=self._against(wanted))

    def _unvalidated(self, wanted: Constraint, has: Constraint) -> Iterator[Deviation]:
        if wanted.validated and not has.validated:
            subject = f"{wanted.rule} {wanted.condition or _columns_of(wanted)} of {self._name}"
            change = f"VALIDATE CONSTRAINT {quoted(has.name)}"
            fix = "freehold db upgrade checks all rows"
            problem = "was never checked against the rows that existed before it"
            yield self._altered(subject, problem, change, fix=fix, violations=self._against(wanted), vital=False)

    def _stands_for(self, wanted: Constraint, has: Constraint) -> bool:
        """Whether `has` is the same constraint with another definition: by its name, or the name the engine chooses."""
        if has.rule is not wanted.rule:
            return False
        if wanted.name:
            return wanted.name == has.name
        if set(has.columns) != set(wanted.columns):
            return False
        if wanted.rule is Rule.FOREIGN_KEY:
            return has.refers_to[0].rpartition(".")[2] == wanted.refers_to[0].rpartition(".")[2]
        column = f"{wanted.columns[0]}_" if len(wanted.columns) == 1 else ""
        given = re.escape(f"{self._name.rpartition('.')[2]}_{column}") + r"check\d*"
        return not wanted.definition or re.fullmatch(given, has.name) is not None

    def _against(self, wanted: Constraint) -> str:
        if wanted.rule is Rule.CHECK:
            return of_check(self._name, wanted.condition)
        table, columns = wanted.refers_to
        other = self._expected.tables.get(table)
        referred = columns or (other.key if other is not None else None) or ()
        return of_foreign_key(self._name, wanted.columns, table, referred)


def _columns_of(constraint: Constraint) -> str:
    return f"({', '.join(constraint.columns)})"


def _part(part: Part, there: Part | None, *, waits_for: Sequence[str]) -> Deviation | None:
    subject = f"{part.kind} {part.name}" + (f" on {part.table}" if part.kind is Kind.TRIGGER else "")
    vital = part.kind is not Kind.INDEX
    violations = of_key(part.table, part.key, where=part.condition) if part.key else ""
    if there is None and waits_for:
        fix = f"freehold db upgrade makes it again once {', '.join(waits_for)} is back"
        return _deviation(subject, "is missing", part.step, fix=fix, vital=vital)
    if there is None:
        if part.kind is Kind.SEQUENCE:
            fix = f"its value is lost: create {part.name} by hand, with a start above the values already used"
            return _deviation(subject, "is missing", part.step, fix=fix)
        return _deviation(
            subject, "is missing", part.step, statements=part.statements, violations=violations, vital=vital
        )
    again = part.again or [f"DROP {part.kind.upper()} {quoted(part.name)}", *part.statements]
    if there.fault:
        mend = there.mend or again
        fix = "" if mend is again else _SETS
        return _deviation(subject, there.fault, part.step, fix=fix, statements=mend, violations=violations, vital=vital)
    if part.definitions and there.definitions and not part.definitions <= there.definitions:
        problem = "differs from its migration"
        deviation = _deviation(subject, problem, part.step, statements=again, violations=violations, vital=vital)
        return replace(deviation, closer=part.kind is Kind.VIEW)
    return None


def _deviation(
    subject: str,
    problem: str,
    step: str,
    *,
    fix: str = "",
    statements: Sequence[str] = (),
    violations: str = "",
    vital: bool = True,
) -> Deviation:
    lossless = bool(statements)
    fix = fix or ("freehold db upgrade makes it again" if lossless else "restore it from a backup")
    return Deviation(Defect(subject, problem, step, fix, lossless=lossless, vital=vital), statements, violations)

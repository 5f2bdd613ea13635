"""Columns and constraints in the text of a CREATE TABLE or ALTER TABLE. Imports its siblings `catalogue`, `expressions`
and `tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from freehold.adapters.sql.inspection.catalogue import Column, Constraint, Rule, Table
from freehold.adapters.sql.inspection.expressions import canonical
from freehold.adapters.sql.inspection.tokens import NotUnderstood, Token, TokenKind, Tokens, split

__all__ = ["Item", "add_item", "constraint_of", "item_of"]

_CONSTRAINTS: Final = frozenset({"constraint", "primary", "unique", "check", "foreign", "exclude", "like"})
_BEGINS_A_CLAUSE: Final = frozenset(
    {"not", "null", "default", "primary", "unique", "check", "references", "generated", "collate", "constraint"}
    | {"storage", "compression", "deferrable", "initially", "autoincrement"}
)
_ACTIONS: Final = (("cascade",), ("restrict",), ("no", "action"), ("set", "null"), ("set", "default"))
_AFTER_A_REFERENCE: Final = (("not", "deferrable"), ("deferrable",), ("initially", "deferred"),
                             ("initially", "immediate"), ("not", "valid"), ("match", "full"), ("match", "simple"),
                             ("no", "inherit"))  # fmt: skip
_SERIAL: Final = {"serial": "integer", "bigserial": "bigint", "smallserial": "smallint",
                  "serial4": "integer", "serial8": "bigint", "serial2": "smallint"}  # fmt: skip
_TYPES: Final = {
    **{name: name for name in ("bigint", "boolean", "bytea", "date", "double precision", "integer", "interval", "json",
                               "jsonb", "numeric", "real", "smallint", "text", "tsvector", "uuid", "inet", "oid",
                               "time with time zone", "time without time zone", "timestamp with time zone",
                               "timestamp without time zone", "character varying")},
    "bool": "boolean", "decimal": "numeric", "float": "double precision", "float4": "real",
    "float8": "double precision", "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint",
    "time": "time without time zone", "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone", "timetz": "time with time zone", "varchar": "character varying",
}  # fmt: skip
_SIZED: Final = {"varchar": "character varying", "character varying": "character varying", "char": "character",
                 "character": "character", "numeric": "numeric", "decimal": "numeric"}  # fmt: skip


@dataclass(slots=True)
class Item:
    """One item between the commas of a CREATE TABLE: a column with its constraints, or constraints alone. `default` are
    the tokens of the column's default.
    """

    name: str = ""
    column: Column | None = None
    constraints: list[Constraint] = field(default_factory=list)
    default: list[Token] = field(default_factory=list)


def item_of(item: list[Token], statement: str) -> Item:
    """Parse an item. Raises `NotUnderstood`."""
    if item and item[0].kind is TokenKind.WORD and item[0].text in _CONSTRAINTS:
        return Item(constraints=[constraint_of(item, statement)])
    tokens = Tokens(item)
    found = Item(tokens.name()[1], Column())
    return _Clauses(found, statement).read(tokens, item)


def add_item(table: Table, found: Item) -> None:
    """Add a parsed item to a table."""
    if found.column is not None:
        table.columns[found.name] = found.column
    for constraint in found.constraints:
        if constraint.rule is Rule.PRIMARY_KEY:
            table.key = constraint.columns
            for column in (table.columns[name] for name in constraint.columns if name in table.columns):
                column.required = True
        elif constraint.rule is Rule.UNIQUE:
            table.uniques.add(constraint.columns)
        elif constraint.rule is not Rule.OTHER:
            table.constraints.append(constraint)


def constraint_of(item: list[Token], statement: str) -> Constraint:
    """Parse a table's constraint, from a migration or from the server. Raises `NotUnderstood`."""
    tokens = Tokens(item)
    name = tokens.name()[1] if tokens.take("constraint") else ""
    found = Constraint(Rule.OTHER, name=name, text=statement[item[0].begin : item[-1].end])
    for rule in (Rule.PRIMARY_KEY, Rule.UNIQUE):
        if tokens.take(*rule.split()):
            tokens.take("nulls", "not", "distinct")
            if tokens.sees("("):
                found.rule = rule
                found.columns = _names(tokens)
            return found
    if tokens.sees("like"):
        raise NotUnderstood
    if tokens.take("check"):
        _read_check(found, tokens, statement)
    elif tokens.take("foreign", "key"):
        found.columns = _names(tokens)
        if not tokens.take("references"):
            raise NotUnderstood
        _read_reference(found, tokens)
    if tokens.take("not", "valid"):
        found.validated = False
    return found


def _names(tokens: Tokens) -> tuple[str, ...]:
    return tuple(Tokens(part).name()[1] for part in split(tokens.group()))


def _read_check(found: Constraint, tokens: Tokens, statement: str) -> None:
    found.rule = Rule.CHECK
    condition = tokens.group()
    found.definition = canonical(condition)
    found.condition = statement[condition[0].begin : condition[-1].end]
    tokens.take("no", "inherit")


def _read_reference(found: Constraint, tokens: Tokens) -> None:
    """Parse the part after REFERENCES."""
    found.rule = Rule.FOREIGN_KEY
    schema, table = tokens.name()
    columns = _names(tokens) if tokens.sees("(") else ()
    found.refers_to = (f"{schema}.{table}".lstrip("."), columns)
    actions = []
    while True:
        if tokens.take("on"):
            on = tokens.next().text
            action = next((words for words in _ACTIONS if tokens.take(*words)), None)
            if action is None:
                raise NotUnderstood
            if tokens.sees("("):
                tokens.group()
            if action != ("no", "action"):
                actions.append(f"on {on} {' '.join(action)}")
            continue
        passed = next((words for words in _AFTER_A_REFERENCE if tokens.take(*words)), None)
        if passed is None:
            break
        found.validated = found.validated and passed != ("not", "valid")
    found.definition = " ".join([*found.columns, "references", table, *sorted(actions)])


class _Clauses:
    """Parses the clauses behind the name of a column."""

    def __init__(self, found: Item, statement: str) -> None:
        self._found = found
        self._statement = statement
        self._column = found.column or Column()
        self._begin = 0
        self._name = ""

    def read(self, tokens: Tokens, item: list[Token]) -> Item:
        """Parse the type and all clauses. Raises `NotUnderstood`."""
        column = self._column
        serial = self._read_type(tokens)
        column.required = column.default = serial
        column.identity = False
        column.text = self._statement[item[0].begin : item[-1].end]
        if column.type is not None:
            column.collation = ""
        while tokens:
            self._name = tokens.name()[1] if tokens.take("constraint") else ""
            self._begin = tokens.rest[0].begin if tokens else 0
            self._read_clause(tokens)
        return self._found

    def _read_clause(self, tokens: Tokens) -> None:
        column = self._column
        if tokens.take("not", "null"):
            column.required = True
        elif tokens.take("default"):
            self._read_default(tokens)
        elif tokens.take("collate"):
            _, collation = tokens.name()
            column.collation = "" if collation == "default" else collation
        elif tokens.take("primary", "key"):
            column.required = True
            self._add(Constraint(Rule.PRIMARY_KEY, (self._found.name,)))
        elif tokens.take("unique"):
            self._add(Constraint(Rule.UNIQUE, (self._found.name,)))
        elif tokens.take("autoincrement"):
            column.identity = True
        elif tokens.take("generated"):
            self._read_generated(tokens)
        elif tokens.take("check"):
            check = Constraint(Rule.CHECK, name=self._name)
            _read_check(check, tokens, self._statement)
            check.text = f"{self._naming()}CHECK ({check.condition})"
            self._add(check)
        elif tokens.take("references"):
            self._read_foreign_key(tokens)
        else:
            tokens.next()

    def _add(self, constraint: Constraint) -> None:
        self._found.constraints.append(constraint)

    def _naming(self) -> str:
        return f'CONSTRAINT "{self._name}" ' if self._name else ""

    def _read_foreign_key(self, tokens: Tokens) -> None:
        key = Constraint(Rule.FOREIGN_KEY, (self._found.name,), name=self._name)
        before = tokens.rest[:]
        _read_reference(key, tokens)
        words = before[: len(before) - len(tokens.rest)]
        referred = self._statement[words[0].begin : words[-1].end]
        key.text = f'{self._naming()}FOREIGN KEY ("{self._found.name}") REFERENCES {referred}'
        self._add(key)

    def _read_default(self, tokens: Tokens) -> None:
        """Parse a default up to the next clause. `DEFAULT NULL` counts as unknown: no engine stores it."""
        words = self._found.default = [tokens.next()]
        depth = int(words[0].text == "(")
        while tokens and (depth or not (tokens.rest[0].kind is TokenKind.WORD and
                                        tokens.rest[0].text in _BEGINS_A_CLAUSE)):  # fmt: skip
            words.append(tokens.next())
            depth += (words[-1].text == "(") - (words[-1].text == ")")
        self._column.default_sql = self._statement[words[0].begin : words[-1].end]
        self._column.default = None if words[0].text == "null" else True
        self._column.default_text = canonical(words)

    def _read_generated(self, tokens: Tokens) -> None:
        while tokens and not tokens.take("as"):
            tokens.next()
        if tokens.take("identity"):
            self._column.identity = self._column.required = True
        else:
            self._column.default = True
        if tokens.sees("("):
            tokens.group()

    def _read_type(self, tokens: Tokens) -> bool:
        """Parse the type into the server's name for it (None where it is not known); True for a serial type."""
        words, size, array = [], "", ""
        while tokens and not (tokens.rest[0].kind is TokenKind.WORD and tokens.rest[0].text in _BEGINS_A_CLAUSE):
            if tokens.sees("("):
                size = f"({','.join(token.text for token in tokens.group() if token.text != ',')})"
            elif tokens.take("[", "]"):
                array = "[]"
            else:
                words.append(tokens.next().text)
        name = " ".join(words)
        if size:
            whole = name in _SIZED and not (name in {"numeric", "decimal"} and "," not in size)
            self._column.type = f"{_SIZED[name]}{size}{array}" if whole else None
            return False
        known = _SERIAL.get(name) or _TYPES.get(name)
        self._column.type = f"{known}{array}" if known else None
        return name in _SERIAL

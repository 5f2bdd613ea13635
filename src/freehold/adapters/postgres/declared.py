"""The catalogue that migrations make in a PostgreSQL database, read from their text. Imports the SQL base and its
siblings.

The steps cannot be run on the server to find out, because the role of a service may not create objects. Where the
parser does not know the form of a statement, all objects that the statement names are removed from the catalogue: they
are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Final

from freehold.adapters.postgres.routines import routine_of, trigger_of
from freehold.adapters.sql.inspection.catalogue import Catalogue, Kind, Part, Rule, Table, quoted
from freehold.adapters.sql.inspection.columns import add_item, item_of
from freehold.adapters.sql.inspection.expressions import is_plain_condition, is_plain_default
from freehold.adapters.sql.inspection.tokens import NotUnderstood, Token, TokenKind, Tokens, scan, split

__all__ = ["canonical_index", "expected"]

Steps = tuple[tuple[str, tuple[str, ...]], ...]
_OWN: Final = "freehold_"
_HARMLESS: Final = frozenset({"insert", "update", "delete", "set", "analyze", "comment", "lock", "truncate", "vacuum"})
_AFTERWARDS: Final = frozenset({"grant", "revoke"})
_INDEX_HEAD: Final = re.compile(
    r"create (?:unique )?index (?:concurrently )?(?:if not exists )?\S+ on (?:only )?\S+?(?=\s|\()", re.DOTALL
)
_CAST: Final = re.compile(r"::(?:character varying|double precision|[a-z_]+)(?:\[\])?")
_DROPPED: Final = {"table", "view", "index", "sequence", "trigger", "function", "procedure"}


@lru_cache(maxsize=64)
def expected(steps: Steps, schema: str) -> Catalogue:
    """The catalogue that these steps (label and statements) make in an empty database; in `schema`, where given."""
    reader = _Reader(schema)
    for label, statements in steps:
        for statement in statements:
            reader.read(label, statement)
    for table in reader.catalogue.tables.values():
        _keep_what_is_plain(table)
    return reader.catalogue


def canonical_index(sql: str) -> str:
    """The columns and the condition of an index as a text, the same for a migration's form and the server's."""
    text = _INDEX_HEAD.sub("", " ".join(sql.lower().replace('"', "").split()), count=1).replace("using btree", "")
    text = _CAST.sub("", text).replace("= any (array[", " in (")
    return re.sub(r"[\s()\[\]]", "", text)


def _keep_what_is_plain(table: Table) -> None:
    """Remove definitions and defaults that are not plain: the server's form of them cannot be compared. Such a CHECK is
    matched by its columns.
    """
    types = {name: column.type for name, column in table.columns.items()}
    for constraint in table.constraints:
        if constraint.rule is Rule.CHECK:
            words = scan(constraint.condition)
            constraint.columns = tuple(sorted({word.text for word in words} & types.keys()))
            if not is_plain_condition(words, types):
                constraint.definition = ""
    for column in table.columns.values():
        if not is_plain_default(scan(column.default_sql), column.type):
            column.default_text = None


def _replaced_view(name: str, statement: str) -> str:
    """A statement that replaces a view, which keeps the rights on it; with other columns it drops and creates it."""
    replacing = re.sub(r"^\s*CREATE VIEW", "CREATE OR REPLACE VIEW", statement, flags=re.IGNORECASE)
    return (
        f"DO $freehold$ BEGIN EXECUTE $statement${replacing}$statement$; EXCEPTION WHEN invalid_table_definition THEN"
        f" EXECUTE $statement$DROP VIEW {quoted(name)}$statement$; EXECUTE $statement${statement}$statement$;"
        " END $freehold$"
    )


class _Reader:
    def __init__(self, schema: str) -> None:
        self.catalogue = Catalogue()
        self._schema = schema
        self._label = self._statement = ""
        self._tokens: list[Token] = []

    def read(self, label: str, statement: str) -> None:
        self._label, self._statement, self._tokens = label, statement, scan(statement)
        try:
            self._read(Tokens(self._tokens))
        except NotUnderstood:
            self._forget_named()

    def _read(self, tokens: Tokens) -> None:
        if tokens.take("create"):
            self._create(tokens)
        elif tokens.take("drop"):
            self._drop(tokens)
        elif tokens.take("alter", "table"):
            self._alter(tokens)
        elif tokens and tokens.rest[0].text in _AFTERWARDS:
            self._add_to_functions()
        elif not tokens or tokens.rest[0].text not in _HARMLESS:
            raise NotUnderstood

    def _create(self, tokens: Tokens) -> None:
        tokens.take("or", "replace")
        unique = tokens.take("unique")
        lasting = not tokens.take("unlogged")
        tokens.take("constraint")
        if tokens.take("temp") or tokens.take("temporary"):
            return
        kinds: dict[str, Callable[[Tokens], None]] = {
            "table": lambda rest: self._create_table(rest, lasting=lasting),
            "function": self._create_function,
            "procedure": self._create_function,
            "trigger": self._create_trigger,
            "view": self._create_view,
            "sequence": self._create_sequence,
        }
        if tokens.take("index"):
            self._create_index(tokens, unique=unique)
        elif tokens.take("materialized", "view"):
            tokens.take("if", "not", "exists")
            self._keep(self._part(Kind.MATERIALIZED_VIEW, self._name(tokens)))
        elif tokens and tokens.rest[0].text in kinds:
            kinds[tokens.next().text](tokens)
        # Types, domains, extensions, policies and the like are not compared.

    def _create_table(self, tokens: Tokens, *, lasting: bool) -> None:
        tokens.take("if", "not", "exists")
        name = self._name(tokens)
        if name in self.catalogue.tables:
            return
        table = self.catalogue.tables[name] = Table(lasting=lasting, step=self._label, statements=[self._statement])
        if tokens.sees("("):
            inside = split(tokens.group())
            if tokens.sees("as"):
                return
            for item in inside:
                add_item(table, item_of(item, self._statement))

    def _create_index(self, tokens: Tokens, *, unique: bool) -> None:
        tokens.take("concurrently")
        tokens.take("if", "not", "exists")
        if tokens.sees("on"):
            return
        _, name = tokens.name()
        if not tokens.take("on"):
            raise NotUnderstood
        tokens.take("only")
        table = self._name(tokens)
        parts = split(tokens.group()) if tokens.sees("(") else []
        single = bool(parts) and all(len(part) == 1 for part in parts)
        known = (single and not tokens) or name.startswith(_OWN)
        definition = {f"{'unique ' * unique}{canonical_index(self._statement)}"} if known else set()
        part = self._part(Kind.INDEX, self._name_of(table.rpartition(".")[0], name), table, definition)
        if unique and single and (not tokens or tokens.sees("where")):
            part.key = tuple(column.text for ((column),) in parts)
            part.condition = self._statement[tokens.rest[1].begin :] if tokens else ""
        self._keep(part)

    def _create_function(self, tokens: Tokens) -> None:
        name = self._name(tokens)
        tokens.group()
        definitions = routine_of(tokens)
        known = self.catalogue.parts.get((Kind.FUNCTION, name))
        if known is not None and "replace" not in {token.text for token in self._tokens[:3]}:
            definitions |= known.definitions
        statement = re.sub(r"^\s*CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", self._statement, flags=re.IGNORECASE)
        before = known.statements if known is not None else []
        part = self._part(Kind.FUNCTION, name, "", definitions)
        part.statements = [*before, statement]
        part.again = part.statements
        self._keep(part)

    def _create_trigger(self, tokens: Tokens) -> None:
        _, name = tokens.name()
        table, definition = trigger_of(tokens)
        place = self._name_of(*table)
        part = self._part(Kind.TRIGGER, name, place, {definition})
        part.again = [f"DROP TRIGGER {quoted(name)} ON {quoted(place)}", self._statement]
        self._keep(part)

    def _create_view(self, tokens: Tokens) -> None:
        """Note a view. The definition of one with `*` is not known: it depends on the columns of that time."""
        part = self._part(Kind.VIEW, self._name(tokens))
        while tokens and not tokens.take("as"):
            tokens.next()
        words = [token.text for token in tokens.rest]
        starred = any(word == "*" and before in {"select", ".", ",", "distinct"} for before, word in pairwise(words))
        if words and not starred and "option" not in words:
            part.definitions = {self._statement[tokens.rest[0].begin :]}
        part.again = [_replaced_view(part.name, self._statement)]
        self._keep(part)

    def _create_sequence(self, tokens: Tokens) -> None:
        tokens.take("if", "not", "exists")
        self._keep(self._part(Kind.SEQUENCE, self._name(tokens)))

    def _part(self, kind: Kind, name: str, table: str = "", definitions: set[str] | None = None) -> Part:
        return Part(kind, name, table, definitions or set(), self._label, [self._statement])

    def _keep(self, part: Part) -> None:
        place = f"{part.name} on {part.table}" if part.kind is Kind.TRIGGER else part.name
        self.catalogue.parts[part.kind, place] = part

    def _drop(self, tokens: Tokens) -> None:
        tokens.take("materialized")
        if not tokens or tokens.rest[0].text not in _DROPPED:
            raise NotUnderstood
        if not tokens.take("trigger"):
            self._forget_named()
            return
        tokens.take("if", "exists")
        _, name = tokens.name()
        if not tokens.take("on"):
            raise NotUnderstood
        self.catalogue.parts.pop((Kind.TRIGGER, f"{name} on {self._name(tokens)}"), None)

    def _alter(self, tokens: Tokens) -> None:
        tokens.take("if", "exists")
        tokens.take("only")
        name = self._name(tokens)
        table = self.catalogue.tables.get(name)
        if table is None:
            return
        if tokens.take("rename", "to"):
            self._rename(name, self._name_of(name.rpartition(".")[0], tokens.name()[1]))
            return
        if tokens.take("rename") or tokens.sees("set", "schema"):
            raise NotUnderstood
        for action in split(tokens.rest):
            self._alter_one(table, Tokens(action))
        table.statements.append(self._statement)

    def _alter_one(self, table: Table, action: Tokens) -> None:
        if action.take("add"):
            action.take("column")
            action.take("if", "not", "exists")
            add_item(table, item_of(action.rest, self._statement))
        elif action.take("drop"):
            self._drop_of(table, action)
        elif action.take("alter"):
            action.take("column")
            column = table.columns.get(action.name()[1])
            if column is not None and not action.sees("set", "storage"):
                column.type = column.required = column.default = column.identity = None
                column.default_text = column.collation = None
                column.default_sql = ""
        elif action.take("set", "logged") or action.take("set", "unlogged"):
            table.lasting = None
        elif "trigger" in {token.text for token in action.rest}:
            self._forget({token.text for token in action.rest} - {"trigger"})

    def _drop_of(self, table: Table, action: Tokens) -> None:
        if action.sees("constraint"):
            table.key, table.uniques, table.constraints = None, set(), []
            return
        action.take("column")
        action.take("if", "exists")
        self._drop_column(table, action.name()[1])

    def _rename(self, name: str, new: str) -> None:
        """Rename a table. Objects whose statements name the old name are removed: these statements would fail."""
        table = self.catalogue.tables.pop(name)
        table.statements.append(self._statement)
        self.catalogue.tables[new] = table
        for other in self.catalogue.tables.values():
            other.constraints = [each for each in other.constraints if each.refers_to[0] != name]
        for place, part in list(self.catalogue.parts.items()):
            if part.table == name or (part.kind is not Kind.FUNCTION and name in self._words(part)):
                del self.catalogue.parts[place]

    def _drop_column(self, table: Table, column: str) -> None:
        table.columns.pop(column, None)
        if column in (table.key or ()):
            table.key = None
        table.uniques = {columns for columns in table.uniques if column not in columns}
        table.constraints = [
            each for each in table.constraints if column not in {*each.columns, *(w.text for w in scan(each.condition))}
        ]
        for place, part in list(self.catalogue.parts.items()):
            if self.catalogue.tables.get(part.table) is table and column in self._words(part):
                del self.catalogue.parts[place]

    def _add_to_functions(self) -> None:
        words = {token.text for token in self._tokens}
        for part in self.catalogue.parts.values():
            if part.kind is Kind.FUNCTION and part.name in words:
                part.statements.append(self._statement)

    def _forget_named(self) -> None:
        """Remove all objects that the statement names, also in a body or a string."""
        words = {token.text for token in self._tokens}
        for token in self._tokens:
            if token.kind in {TokenKind.DOLLAR, TokenKind.STRING}:
                words |= {word.lower() for word in re.findall(r"\w+", token.text)}
        self._forget(words)

    def _forget(self, words: set[str]) -> None:
        """Remove the objects with these names, and those that mention them."""
        catalogue = self.catalogue
        names = (*catalogue.tables, *(part.name for part in catalogue.parts.values()))
        called = {name.rpartition(".")[2] for name in names}
        gone = words & called
        for name in [name for name in catalogue.tables if name.rpartition(".")[2] in gone]:
            del catalogue.tables[name]
        for table in catalogue.tables.values():
            table.constraints = [each for each in table.constraints if each.refers_to[0].rpartition(".")[2] not in gone]
        for place, part in list(catalogue.parts.items()):
            speaks = set() if part.kind is Kind.FUNCTION else self._words(part)
            if gone & {part.name.rpartition(".")[2], part.table.rpartition(".")[2], *speaks}:
                del catalogue.parts[place]

    @staticmethod
    def _words(part: Part) -> set[str]:
        return {token.text for text in part.statements for token in scan(text)}

    def _name(self, tokens: Tokens) -> str:
        return self._name_of(*tokens.name())

    def _name_of(self, schema: str, name: str) -> str:
        return name if schema in {"", self._schema} else f"{schema}.{name}"

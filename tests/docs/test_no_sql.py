"""Patterns hold no statement in SQL: that is the adapters' part. What they may import is checked by `make lint`."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.docs.blocks import ROOT

_SOURCES: Final = ROOT / "src" / "freehold"
_THING: Final = r"(?:\w+ ){0,3}?(?:TABLE|VIEW|INDEX|TRIGGER|FUNCTION|SCHEMA|SEQUENCE|TYPE)\b"
_STATEMENT: Final = re.compile(
    rf"""
    \bSELECT\b.*?\bFROM\b | \bSELECT\s+[\w$]+\s*\( | \bINSERT\s+INTO\b | \bUPDATE\s+\S+(?:\s+AS\s+\w+)?\s+SET\b
  | \bDELETE\s+FROM\b | \b(?:CREATE|DROP|ALTER|TRUNCATE|LOCK)\s+{_THING.replace(" ", "[ ]")}
  | \bREFRESH\s+MATERIALIZED\b
  | \b(?:GRANT|REVOKE)\b.*\bON\b | \bSET\s+(?:LOCAL|SESSION)\b | \bON\s+(?:CONFLICT|DUPLICATE\s+KEY)\b
  | \bORDER\s+BY\b | \bCOLLATE\b | \bPRAGMA\b | \bFOR\s+UPDATE\b
    """,
    re.VERBOSE | re.DOTALL,
)
# In small letters only what nobody writes as a sentence.
_SMALL: Final = re.compile(
    r"\s*(?:select\s.+\sfrom\s+\w+|insert\s+into\s+\w+|update\s+\w+\s+set\s|delete\s+from\s+\w+)", re.DOTALL
)


def _patterns() -> list[str]:
    """The packages that the import rules call patterns."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [each for each in project["tool"]["importlinter"]["contracts"] if "know no engine" in each["name"]]
    return [name.split(".")[1] for name in contract["source_modules"] if name.endswith(".*")]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a module with their lines, but for docstrings; what is put into one stands as `x`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(each.value) if isinstance(each, ast.Constant) else "x" for each in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | parts:
            yield node.lineno, node.value


def _statements(path: Path) -> list[str]:
    found = [(line, text) for line, text in _texts(path) if _STATEMENT.search(text) or _SMALL.match(text)]
    return [f"{path.relative_to(ROOT)}:{line}: {' '.join(text.split())[:80]}" for line, text in found]


@pytest.mark.parametrize("pattern", _patterns())
def test_a_pattern_holds_no_sql(pattern: str) -> None:
    modules = sorted((_SOURCES / pattern).rglob("*.py"))
    assert modules
    assert [each for path in modules for each in _statements(path)] == []


def test_every_pattern_is_looked_at() -> None:
    stores = {path.parent.name for path in _SOURCES.glob("*/store.py") if path.parent.name != "adapters"}
    assert stores <= set(_patterns())
    assert {"transaction", "reconcile", "groups"} <= set(_patterns())


def test_statements_are_found_where_there_are_any() -> None:
    """In stores of SQL engines, and in what patterns have held once."""
    stores = ("outbox", "inbox", "saga", "checkpoints", "datasets", "read_models", "snapshots", "reconciliations")
    adapters = _SOURCES / "adapters" / "sql"
    assert [name for name in stores if not _statements(adapters / f"{name}.py")] == []
    for text in (
        "SELECT x FROM x WHERE x",
        "DELETE FROM x WHERE x",
        "INSERT INTO x (x) VALUES (x) ON CONFLICT DO NOTHING",
        "UPDATE x SET x WHERE x",
        "CREATE VIEW x AS SELECT x FROM x",
        "CREATE OR REPLACE VIEW x",
        "DROP MATERIALIZED VIEW x",
        "ALTER TABLE x RENAME TO y",
        "SET LOCAL lock_timeout = x",
        'COLLATE "C"',
        " FOR UPDATE",
    ):
        assert _STATEMENT.search(text), text

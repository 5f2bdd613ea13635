"""What users copy imports public names only: every Python block of the docs and the README, and the shop.

Public is what the `__all__` of `freehold`, of a pattern's package, or of one of `_MODULES` lists.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

import freehold

ROOT: Final = Path(__file__).parents[2]
SHOP: Final = ROOT / "shop" / "src" / "freehold_shop"
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK: Final = re.compile(r"^ *```python[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_INTERNAL: Final = frozenset({"freehold.adapters"})
# Public besides `freehold` and its packages.
_MODULES: Final = {
    "freehold.alembic": "is named in the user's `env.py`",
    "freehold.broker": "the port of brokers: who writes an adapter or reads a broker needs all of it",
    "freehold.database": "the port of databases, likewise",
    "freehold.pattern": "what a pattern of a project's own is declared with",
    "freehold.sql": "the port of statements in SQL: who reads a service's tables needs it",
    "freehold.sqlalchemy": "is imported only where SQLAlchemy is used",
}
# One suite a port: pytest would collect all suites from a package that exported them.
_SUITES: Final = "freehold.conformance."


def _imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield module and name of whatever is imported from Freehold; of a whole module, the name is empty."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module is not None:
            found = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        else:
            continue
        yield from ((module, name) for module, name in found if module.partition(".")[0] == freehold.__name__)


def _is_public(module: str, name: str) -> bool:
    if module in _INTERNAL:
        return False
    imported = importlib.import_module(module)
    is_package = module.count(".") <= 1 and hasattr(imported, "__path__")
    if not (is_package or module in _MODULES or module.startswith(_SUITES)):
        return False
    public = getattr(imported, "__all__", ())
    return name in public if name else bool(public)


def _not_public(source: str) -> list[str]:
    return [f"{module} {name}".rstrip() for module, name in _imported(source) if not _is_public(module, name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_import_public_names_only(page: Path) -> None:
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    assert [found for block in blocks for found in _not_public(dedent(block))] == []


@pytest.mark.parametrize("package", sorted({file.relative_to(SHOP).parts[0] for file in SHOP.rglob("*.py")}), ids=str)
def test_the_shop_imports_public_names_only(package: str) -> None:
    files = [SHOP / package] if (SHOP / package).is_file() else sorted((SHOP / package).rglob("*.py"))
    found = [each for file in files for each in _not_public(file.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from freehold import Service, fresh", ["freehold fresh"]),
        ("from freehold.service import Service", ["freehold.service Service"]),
        ("from freehold.saga.store import SAGAS", ["freehold.saga.store SAGAS"]),
        ("import freehold.saga.store as store", ["freehold.saga.store"]),
        ("from freehold.saga import SAGAS, timeline", ["freehold.saga timeline"]),
        ("from freehold.cli import main", ["freehold.cli main"]),
        ("import freehold\nfrom freehold.broker import PublishConfirmed\nfrom freehold_shop.money import Money", []),
    ],
)
def test_an_import_that_is_not_public_is_seen(source: str, found: list[str]) -> None:
    assert _not_public(source) == found

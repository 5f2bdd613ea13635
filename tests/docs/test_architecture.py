"""What ARCHITECTURE.md says of layers and edges is what `make lint` checks, and what the modules import.

The house that is to come is drawn there too: what it says of today exists, and its walks lead to what is or will be.
"""

from __future__ import annotations

import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import grimp
from tests.docs.blocks import ROOT

_PAGE: Final = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
_ROW: Final = re.compile(r"^\| (faces|runtime|patterns|ports|foundation) \| ([^|]+) \|", re.MULTILINE)
_EDGES: Final = re.compile(r"`([\w, ]+?)\s*→\s*([\w,\s]+?)`")
_MOVES: Final = (ROOT / "docs" / "decisions" / "the-move-in-steps.md").read_text(encoding="utf-8")
_MOVE: Final = re.compile(r"^\| (`[^|]+`) \| `([^|`]+)` \|$", re.MULTILINE)
_STEP: Final = re.compile(r"^\d+\. .+?^ +- today: (.+?)^ +- target: (.+?)(?=^\d|^\S|^$)", re.MULTILINE | re.DOTALL)
_ROOTS: Final = (ROOT / "src" / "freehold", ROOT / "shop" / "src", ROOT)


def test_the_layers_are_those_that_lint_checks() -> None:
    assert [layer for _, layers in _told() for layer in layers] == _checked()


def test_patterns_import_each_other_over_the_edges_that_are_told_and_no_other() -> None:
    sentence = _PAGE[_PAGE.index("over these edges and no other") :].partition("\n\n")[0]
    told = {
        (importer, imported)
        for importers, importeds in _EDGES.findall(sentence)
        for importer in _names(importers)
        for imported in _names(importeds)
    }
    patterns = {name for row, layers in _told() if row == "patterns" for layer in layers for name in layer}
    assert told == _imported(patterns)


def test_the_walks_name_modules_that_exist_today() -> None:
    steps = _walked()
    assert len(steps) == _section("### Three walks").count("- today:") == 29
    assert [path for today, _ in steps for path in _paths(today) if not _exists(path)] == []


def test_the_walks_lead_to_modules_that_exist_or_are_to_come() -> None:
    to_come = {target for _, target in _moves()}
    named = {path for _, target in _walked() for path in _paths(target)}
    assert sorted(path for path in named if not (_exists(path) or path in to_come)) == []


def test_what_is_to_be_moved_is_still_there() -> None:
    """Who moves a module takes its line out of the table, and has the walks name it as it is called then."""
    assert [path for sources, _ in _moves() for path in _paths(sources) if not _exists(path)] == []


def test_the_guards_of_the_move_exist() -> None:
    steps = _MOVES[_MOVES.index("## Steps") : _MOVES.index("## Where the modules go")]
    guards = [path for path in _paths(steps) if path.startswith("tests")]
    assert len(guards) > 30
    assert [path for path in guards if not _exists(path)] == []


def test_the_patterns_of_the_house_stand_in_the_drawing_and_import_no_circle() -> None:
    sentence = _PAGE[_PAGE.index("The edges between patterns:") :].partition("\n\n")[0]
    edges = {importer: _names(importeds) for importer, importeds in _EDGES.findall(sentence)}
    assert len(edges) == 10
    order = list(TopologicalSorter(edges).static_order())  # raises CycleError
    folders = re.findall(r"^  (\w+)/ ", _section("### Folders"), re.MULTILINE)
    assert set(order) <= set(folders)


def _told() -> list[tuple[str, list[frozenset[str]]]]:
    """The rows of the table: layers are separated by `;`, from the top down."""
    return [(row, [_quoted(layer) for layer in cell.split(";")]) for row, cell in _ROW.findall(_PAGE)]


def _quoted(text: str) -> frozenset[str]:
    return frozenset(name for names in re.findall(r"`([\w ]+)`", text) for name in names.split())


def _checked() -> list[frozenset[str]]:
    """The layers of the contract, without names that do not exist yet."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    there = {path.stem for path in (ROOT / "src" / "freehold").iterdir()}
    layers = [frozenset(re.findall(r"\w+", layer)) & there for layer in contract["layers"]]
    return [layer for layer in layers if layer]


def _imported(packages: set[str]) -> set[tuple[str, str]]:
    """Which of the packages imports which other one."""
    graph = grimp.build_graph("freehold", cache_dir=None)
    edges = set[tuple[str, str]]()
    for module in graph.modules:
        importer = _package(module)
        is_face = ".commands" in module or module.endswith(".routes")  # faces look at all
        if importer in packages and not is_face:
            edges |= {(importer, _package(each)) for each in graph.find_modules_directly_imported_by(module)}
    return {(importer, imported) for importer, imported in edges if imported in packages and imported != importer}


def _package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _section(heading: str) -> str:
    return _PAGE[_PAGE.index(heading) :].partition("\n## ")[0].partition("\n### ")[0]


def _walked() -> list[tuple[str, str]]:
    """The steps of the walks: the modules of today, and those of the house."""
    return _STEP.findall(_section("### Three walks") + "\n\n")


def _moves() -> list[tuple[str, str]]:
    return _MOVE.findall(_MOVES[_MOVES.index("## Where the modules go") :])


def _paths(text: str) -> list[str]:
    return [quoted for quoted in re.findall(r"`([^`]+)`", text) if "/" in quoted or "." in quoted]


def _exists(path: str) -> bool:
    return any((root / Path(path)).exists() for root in _ROOTS)

"""ARCHITECTURE.md has the layers and edges that `make lint` checks and modules import; its flows name real modules."""

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
_EDGES: Final = re.compile(r"`(\w+?)\s*→\s*([\w,\s]+?)`")
_STEP: Final = re.compile(r"^\d+\. .+?^ +- (.+?)(?=^\d|^\S|^$|\Z)", re.MULTILINE | re.DOTALL)
_ROOTS: Final = (ROOT / "src" / "freehold", ROOT / "shop" / "src", ROOT)


def test_the_layers_are_those_that_lint_checks() -> None:
    assert [layer for _, layers in _rows() for layer in layers] == _checked()


def test_patterns_import_each_other_over_the_edges_of_the_page_and_no_other() -> None:
    patterns = {name for row, layers in _rows() if row == "patterns" for layer in layers for name in layer}
    assert _edges() == _imported(patterns)


def test_the_flows_name_modules_that_exist() -> None:
    steps = _STEP.findall(_section("## Three flows"))
    assert len(steps) == 29
    named = [path for step in steps for path in _paths(step)]
    assert len(named) > 90
    assert [path for path in named if not _exists(path)] == []


def test_each_pattern_of_the_edges_is_a_folder_of_the_house_and_they_make_no_circle() -> None:
    edges: dict[str, list[str]] = {}
    for importer, imported in _edges():
        edges.setdefault(importer, []).append(imported)
    order = list(TopologicalSorter(edges).static_order())  # raises CycleError
    folders = re.findall(r"^  (\w+)/ ", _section("### Folders"), re.MULTILINE)
    assert set(order) <= set(folders)


def _edges() -> set[tuple[str, str]]:
    sentence = _PAGE[_PAGE.index("over these edges and no other") :].partition("\n\n")[0]
    return {
        (importer, imported)
        for importer, importeds in _EDGES.findall(sentence)
        for imported in (name.strip() for name in importeds.split(","))
    }


def _rows() -> list[tuple[str, list[frozenset[str]]]]:
    """The rows of the table: layers are separated by `;`, from the top down."""
    return [(row, [_quoted(layer) for layer in cell.split(";")]) for row, cell in _ROW.findall(_PAGE)]


def _quoted(text: str) -> frozenset[str]:
    return frozenset(name for names in re.findall(r"`([\w ]+)`", text) for name in names.split())


def _checked() -> list[frozenset[str]]:
    """The layers of the contract, without names that do not exist."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    there = {path.stem for path in (ROOT / "src" / "freehold").iterdir()}
    layers = [frozenset(re.findall(r"\w+", layer)) & there for layer in contract["layers"]]
    return [layer for layer in layers if layer]


def _imported(packages: set[str]) -> set[tuple[str, str]]:
    """The imports between these packages, without those of faces."""
    graph = grimp.build_graph("freehold", cache_dir=None)
    edges = set[tuple[str, str]]()
    for module in graph.modules:
        importer = _package(module)
        is_face = ".commands" in module or module.endswith(".routes")  # faces may import every pattern
        if importer in packages and not is_face:
            edges |= {(importer, _package(each)) for each in graph.find_modules_directly_imported_by(module)}
    return {(importer, imported) for importer, imported in edges if imported in packages and imported != importer}


def _package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _section(heading: str) -> str:
    return _PAGE[_PAGE.index(heading) :].partition("\n## ")[0].partition("\n### ")[0]


def _paths(text: str) -> list[str]:
    return [quoted for quoted in re.findall(r"`([^`]+)`", text) if "/" in quoted or "." in quoted]


def _exists(path: str) -> bool:
    return any((root / Path(path)).exists() for root in _ROOTS)

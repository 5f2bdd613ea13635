"""Every module names what is public, and everything public is documented."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import freehold
import freehold_shop


def _module_names(package: ModuleType) -> list[str]:
    """Read the directories rather than import: one module that is broken must not hide the others."""
    (root,) = package.__path__
    files = sorted(Path(root).rglob("*.py"))
    parts = [(package.__name__, *file.relative_to(root).with_suffix("").parts) for file in files]
    return [".".join(names).removesuffix(".__init__") for names in parts if names[-1] != "__main__"]


def _is_private(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("."))


def _holds_only_modules(module: ModuleType) -> bool:
    names = [name for name, value in vars(module).items() if not (_is_private(name) or inspect.ismodule(value))]
    return hasattr(module, "__path__") and names == []


def _undocumented(module: ModuleType) -> list[str]:
    missing = []
    for name in module.__all__:
        member = getattr(module, name)
        if not (inspect.isclass(member) or inspect.isroutine(member)):
            continue
        if not inspect.getdoc(member):
            missing.append(name)
        if inspect.isclass(member) and member.__module__.startswith(freehold.__name__):
            missing.extend(f"{name}.{method}" for method in _undocumented_methods(member))
    return missing


def _undocumented_methods(owner: type) -> list[str]:
    """Methods without a text of their own or of the port they implement; an override inherits its port's."""
    methods = (name for name, value in vars(owner).items() if inspect.isroutine(value) or isinstance(value, property))
    return [name for name in methods if not name.startswith("_") and not inspect.getdoc(getattr(owner, name))]


@pytest.mark.parametrize("package", [freehold, freehold_shop])
def test_every_directory_with_modules_is_a_package(package: ModuleType) -> None:
    (root,) = package.__path__
    directories = {file.parent for file in Path(root).rglob("*.py")}
    assert [str(directory) for directory in directories if not (directory / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", _module_names(freehold) + _module_names(freehold_shop))
def test_a_module_can_be_imported_and_says_what_it_is_for(name: str) -> None:
    assert importlib.import_module(name).__doc__, f"{name} begins with no docstring"


@pytest.mark.parametrize("name", [name for name in _module_names(freehold) if not _is_private(name)])
def test_public_names_are_listed_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    if _holds_only_modules(module):
        return
    assert hasattr(module, "__all__"), f"{name} needs an __all__"
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    assert _undocumented(module) == []

"""`make shop` and `make test` where another environment is active: it has no say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_STAMPS = ("base", "dev", "servers")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make needs of a checkout, with commands that print what they were given."""
    place = tmp_path / "checkout"
    (place / "scripts").mkdir(parents=True)
    shutil.copy(_ROOT / "Makefile", place)
    shutil.copytree(_ROOT / "requirements", place / "requirements")
    (place / "shop").mkdir()
    for name in ("pyproject.toml", "shop/pyproject.toml", "scripts/setup", "scripts/get-servers"):
        shutil.copy(_ROOT / name, place / name)
    for name in ("shop", "python"):
        _script(place / ".venv" / "bin" / name, "env")
    _script(place / ".tools" / "uv" / "bin" / "uv", 'echo "uv $*"; env')
    shutil.copy(place / "requirements" / "tools.txt", place / ".tools" / "uv" / "requirements.txt")
    return place


@pytest.fixture
def active(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which another environment, without pip, was made active; and conda's words."""
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True, timeout=120)
    (tmp_path / "wrong").mkdir()
    return {
        "PATH": f"{other}/bin:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "VIRTUAL_ENV": str(other),
        "CONDA_PREFIX": str(other),
        "PYTHONHOME": str(tmp_path / "wrong"),
        "PYTHONPATH": str(tmp_path / "wrong"),
        "PIP_REQUIRE_VIRTUALENV": "1",
    }


def _script(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _given(out: str) -> set[str]:
    names = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "PIP_REQUIRE_VIRTUALENV"}
    return {line.partition("=")[0] for line in out.splitlines()} & names


@pytest.mark.parametrize("target", ["shop", "test"])
def test_what_make_runs_sees_nothing_of_it(checkout: Path, active: dict[str, str], target: str) -> None:
    for name in _STAMPS:
        (checkout / ".venv" / f".stamp-{name}").touch()
    command = ["make", "--no-print-directory", target, "--assume-old", ".venv/.stamp-servers"]
    finished = subprocess.run(
        [*command, "--assume-old", ".venv/.stamp-dev", "--assume-old", ".venv/.stamp-base"],
        cwd=checkout,
        env=active,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert _given(finished.stdout) <= {"PIP_REQUIRE_VIRTUALENV"}


def test_what_is_set_up_is_made_of_the_interpreter_behind_it(checkout: Path, active: dict[str, str]) -> None:
    (checkout / ".venv" / "bin" / "python").unlink()
    finished = subprocess.run(
        ["scripts/setup", "base"], cwd=checkout, env=active, capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stderr
    made = next(line for line in finished.stdout.splitlines() if line.startswith("uv venv"))
    assert active["VIRTUAL_ENV"] not in made
    assert _given(finished.stdout) == set()

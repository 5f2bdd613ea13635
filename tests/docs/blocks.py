"""The Python blocks of a page, as one program whose line numbers are those of the page."""

from __future__ import annotations

import os
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.forking import context

ROOT: Final = Path(__file__).parents[2]
_FENCE: Final = re.compile(r"^(```+)(\S*)(.*)$")
_NOT_RUN: Final = re.compile(r'title="not run: [^"]+"')
_TIMEOUT_SECONDS: Final = 200
_TEST: Final = re.compile(r"^(?:async def test_|def test_|class Test)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds to be run: the program of its Python blocks, and what it says that this prints."""

    program: str
    prints: str

    @property
    def is_tests(self) -> bool:
        """Whether the program is a file of tests."""
        return bool(_TEST.search(self.program))


def read_page(path: Path) -> Page:
    """Read a page. Python that is not to be run says so, with a reason, in the block's title: `not run: ...`."""
    program: list[str] = []
    prints: list[str] = []
    inside: str | None = None
    into: list[str] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        program.append("")
        fence = _FENCE.match(line)
        if inside is not None:
            if line.strip() == inside:
                inside = None
            elif into is program:
                program[-1] = line
            elif into is not None:
                into.append(line)
        elif fence:
            inside = fence[1]
            into = _destination(fence[2], fence[3], program, prints)
    return Page("\n".join(program).rstrip() + "\n", "".join(f"{line}\n" for line in prints))


def _destination(language: str, rest: str, program: list[str], prints: list[str]) -> list[str] | None:
    if language == "python" and not _NOT_RUN.search(rest):
        return program
    return prints if language == "text" and 'title="prints"' in rest else None


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run_page(page: Page, directory: Path) -> Done:
    """Run a page's program as a user would, in an empty directory and a process of its own.

    The process is forked from one that has the libraries imported: they take longer than most pages.
    """
    file = directory / "test_page.py"
    file.write_text(page.program, encoding="utf-8")
    process = context().Process(target=_run, args=(str(file), page.is_tests))
    process.start()
    process.join(_TIMEOUT_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    out, err = (file.with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".out", ".err"))
    return Done(-1 if process.exitcode is None else process.exitcode, out, err)


def _run(path: str, are_tests: bool) -> None:
    """What the process does: everything that is printed goes into files beside the program."""
    file = Path(path)
    os.chdir(file.parent)
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(file.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for name in [name for name in os.environ if name.startswith("FREEHOLD_")]:
        del os.environ[name]
    sys.argv = [path]
    if are_tests:
        options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", f"--rootdir={file.parent}"]
        sys.exit(int(pytest.main([*options, path])))
    runpy.run_path(path, run_name="__main__")

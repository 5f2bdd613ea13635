"""Processes that tests fork from one that has the libraries imported: that takes longer than what most of them do.

They are processes like others, with an interpreter's whole state of their own: what is killed is dead.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Final

__all__ = ["ForkedProcess", "context", "forked", "ran"]

_LIMIT_SECONDS: Final = 120.0
_PRELOADED: Final = (
    "freehold.cli.main",
    "freehold.http.app",
    "freehold.testing.saga",
    "freehold.adapters.embedded.broker",
    "freehold.adapters.postgres.database",
    "freehold.adapters.sqlite.database",
    "freehold.adapters.sqlite.saga",
    "freehold_shop.cli.faults",
    "sqlalchemy.ext.asyncio",
    "pytest",
    __name__,
)


def context() -> ForkServerContext:
    """Where all processes of this one are forked from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([*_PRELOADED])
    return found


class Stdin:
    """The writing end of a pipe, for a few lines."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> None:
        """Write it at once: it has room in the pipe."""
        os.write(self._pipe.fileno(), data)

    def close(self) -> None:
        """Tell the process that nothing more comes."""
        self._pipe.close()


class ForkedProcess:
    """As `asyncio.subprocess.Process`, as far as tests need it."""

    def __init__(
        self, process: ForkServerProcess, stdout: asyncio.StreamReader, reading: asyncio.BaseTransport, stdin: Stdin
    ) -> None:
        self._process = process
        self._reading = reading
        self.stdout = stdout
        self.stdin = stdin

    @property
    def returncode(self) -> int | None:
        """How it ended, negative for a signal; None while it lives."""
        return self._process.exitcode

    async def wait(self) -> int:
        """Wait for its end, and return how it ended."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        if self.returncode is None:
            loop.add_reader(self._process.sentinel, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._process.sentinel)
        self._process.join()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self, data: bytes = b"") -> bytes:
        """Write the last that it is told; returns all that it says until its end."""
        self.stdin.write(data)
        self.stdin.close()
        said = await self.stdout.read()
        await self.wait()
        return said

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, where it lives."""
        if self.returncode is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def end(self) -> None:
        """Kill it where it lives, wait for its end, and close the pipes: a child of its own may have them open."""
        self.kill()
        await self.wait()
        self._reading.close()
        self.stdin.close()


async def forked(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> ForkedProcess:
    """`python -m module arguments`; what it prints is in `stdout`, and it reads what is written to `stdin`."""
    reading, writing = os.pipe()
    told, telling = os.pipe()
    whole = {**os.environ, **(environment or {})}
    with Connection(writing, readable=False) as stdout_pipe, Connection(told, writable=False) as stdin_pipe:
        process = context().Process(target=_run, args=(module, arguments, whole, stdin_pipe, stdout_pipe), daemon=True)
        process.start()
    stdout = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(reading, "rb")
    )
    return ForkedProcess(process, stdout, transport, Stdin(Connection(telling, readable=False)))


def _run(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], stdin: Connection, stdout: Connection
) -> None:
    """What the process does."""
    for number, pipe in enumerate((stdin, stdout)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process lives; multiprocessing has put another
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def ran(module: str, *arguments: str, directory: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run `python -B -m module arguments` to its end; returns how it ended, and what it printed on both streams."""
    files = [directory / f".{module}.{stream}" for stream in ("out", "err")]
    given = (module, arguments, directory, dict(environment), files)
    process = context().Process(target=_run_apart, args=given, daemon=True)
    process.start()
    process.join(_LIMIT_SECONDS)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{module} {' '.join(arguments)}")
    out, err = (file.read_text(encoding="utf-8") for file in files)
    for file in files:
        file.unlink()
    return code, out, err


def _run_apart(
    module: str, arguments: Sequence[str], directory: Path, environment: Mapping[str, str], files: Sequence[Path]
) -> None:
    """What that process does."""
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = True
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(directory))
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)

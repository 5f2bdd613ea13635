"""The wall clock of the shop's processes, which jumps at any time; their monotonic clock stays the machine's.

It is a library of a few lines that is compiled for the run and preloaded. libfaketime 0.9.10, which Debian has, cannot
leave the monotonic clock alone: `clock_nanosleep` then fails with EINVAL, and `time.sleep` with it. Imports the
nemesis.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from freehold.testing import Disturbance

__all__ = ["ProcessClock", "why_no_clock"]

_SOURCE: Final = Path(__file__).with_name("clock.c")
_COMPILE_SECONDS: Final = 60.0
_HOUR_SECONDS: Final = 3600


def why_no_clock() -> str:
    """Why the clock of processes cannot be set; empty if it can."""
    if sys.platform != "linux":
        return "the clock of a process can be set on Linux only"
    return "" if shutil.which("cc") else "no C compiler (cc) for the library that sets it"


class ProcessClock:
    """The clock of the processes that are started with `environment`. `place` is a directory for its files."""

    def __init__(self, place: Path) -> None:
        self._file = place / "clock-offset"
        self._library = place / "clock.so"
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(_SOURCE)]
        subprocess.run(command, check=True, timeout=_COMPILE_SECONDS)
        self._file.write_bytes(struct.pack("q", 0))

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables to start the processes with."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFFSET_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """Set the clock so many seconds before (negative) or after the machine's. In place: the file is mapped."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", seconds))

    def jump(self, name: str, *, seconds: tuple[float, float]) -> Disturbance:
        """The clock is an hour early or late for a time, and right again."""

        async def begin(source: random.Random) -> str:
            offset = source.choice((-_HOUR_SECONDS, _HOUR_SECONDS))
            self.set(offset)
            return f"{offset:+d} s"

        async def end() -> None:
            self.set(0)

        return Disturbance(name=name, begin=begin, end=end, seconds=seconds)

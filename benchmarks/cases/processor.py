"""The processor time of processes, their children included, from `/proc`. Imports the standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cpu_seconds", "family", "private_share_mib"]

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these processes and all of their descendants have used; with those that have ended and were waited for."""
    ticks = 0
    for pid in family(pids):
        fields = _fields(pid)
        ticks += sum(int(each) for each in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / _TICKS_A_SECOND


def family(pids: Iterable[int]) -> set[int]:
    """These processes and all of their descendants."""
    parents = {int(each.name): _parent(int(each.name)) for each in Path("/proc").glob("[0-9]*")}
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def private_share_mib(pid: int) -> float:
    """The memory of a process, where pages that several share are divided among them (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _parent(pid: int) -> int:
    fields = _fields(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def _fields(pid: int) -> list[str]:
    """The fields of its status behind the name, which may have blanks; none for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []

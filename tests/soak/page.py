"""The results of soaks: as JSON, one file a profile, and as docs/reference/soak.md, which is made from these files.

Imports the run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.soak.run import Result

__all__ = ["COMMAND", "DIRECTORY", "PAGE", "page", "write_result"]

PAGE: Final = Path(__file__).parents[2] / "docs/reference/soak.md"
DIRECTORY: Final = Path(__file__).parent / "results"
COMMAND: Final = "make soak ARGS=--write"
_HEAD: Final = f"""\
# The shop under random faults

This page shows what came of `make soak`. It is written by `{COMMAND}`, not by hand.

Customers place orders of both checkouts, have some delivered, and return some. A
[nemesis](../testing.md#faults-against-running-processes) draws faults by a seed, up to two at a time, and begins and
ends them while the shop runs. Each request is repeated with the same key until it is answered. Then every fault ends,
all services must become ready, nothing may wait any more, `shop verify` must hold, and each order that was answered
must exist once, and no other.

In the profile `servers` two services are on MariaDB and the others on PostgreSQL; each reaches its database, and all
the broker, through a [proxy](../testing.md#a-network-with-faults-before-a-real-server). Disks are small file systems in
memory; a server that had no room is started again once it has. The clock that jumps is that of the shop's processes:
the servers keep theirs. A broker that has lost its store is reported by readiness, and the operator sends again what
was lost (`freehold outbox resend`). A message beside which processes were killed more often than `crash_attempts_max`
is a dead letter of the reason `consumer-crashed`; the operator replays it. Whatever else waits for an operator is a
violation.

"""
_FOUND: Final = """
## What it found

- A clock an hour early lets inventory's holds expire. If a scarce product then runs out before the confirmation of an
  order, the order is cancelled, and a return that was accepted between the two restocks nothing, as it must.
  `shop verify` demanded the goods all the same, though its check of money knew of such returns.
  Kept in `tests/unit/shop/verify/test_checks.py`.
- On uvloop a connection to MariaDB that the server resets while it is made raises `RuntimeError` in asyncmy: a loop
  logged it as a bug, and a request would have been answered with 500 in place of 503. It is an outage now.
  Kept in `tests/unit/adapters/test_mariadb_connect.py`.
- On uvloop the proxy raised an error of its own if both sides of a connection ended at the same moment.
  Kept in `tests/unit/testing/test_proxy.py`.
"""
_TITLES: Final = {"embedded": "Profile embedded", "servers": "Profile servers"}


def write_result(result: Result) -> None:
    """Keep a result, and write the page."""
    DIRECTORY.mkdir(exist_ok=True)
    document = dataclasses.asdict(result)
    document["timeline"] = [
        {**each, "began": round(each["began"], 1), "ended": None if each["ended"] is None else round(each["ended"], 1)}
        for each in document["timeline"]
    ]
    document["machine"] = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    path = DIRECTORY / f"{result.profile}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page of the docs, from the results that are kept."""
    text = _HEAD.rstrip("\n") + "\n"
    for profile, title in _TITLES.items():
        path = DIRECTORY / f"{profile}.json"
        if path.exists():
            text += _section(title, json.loads(path.read_text(encoding="utf-8")))
    return text + _FOUND


def _section(title: str, found: Mapping[str, Any]) -> str:
    faults = found["faults"]
    rows = {
        "minutes, seed": f"{found['minutes']:g}, {found['seed']}",
        "faults, kinds": f"{sum(faults.values())}, {len(faults)} of {found['kinds']}",
        "left out": "; ".join(found["left_out"]) or "nothing",
        "orders, returns": f"{found['orders']}, {found['returns']}",
        "requests repeated for want of an answer": str(found["repeats"]),
        "longest request": f"{found['longest_seconds']:.1f} s, repeated because of: {found['longest'] or 'nothing'}",
        "kills of processes, restarts": f"{found['kills']}, {found['restarts']}",
        "restarts of servers": str(found["server_restarts"]),
        "ready after": f"{found['ready_seconds']:.1f} s",
        "every request answered after": f"{found['answered_seconds']:.1f} s",
        "quiet and verified after": f"{found['quiet_seconds']:.1f} s",
        "invariants, violations": f"{found['invariants']}, {len(found['violations'])}",
        "left for the operator, and explained": "; ".join(found["explained"]) or "nothing",
    }
    text = f"\n## {title}\n\n{found['machine']}; the times are those of one run.\n\n| | |\n| --- | --- |\n"
    text += "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    text += "".join(f"\n- **violation**: {each}" for each in found["violations"])
    text += "\n| fault | times |\n| --- | --- |\n"
    return text + "".join(f"| `{name}` | {count} |\n" for name, count in faults.items())

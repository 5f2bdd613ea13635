"""`python -m tests.heal.prerelease`: a shop from before the first release is killed in mid-flight and upgraded.

For each profile: the shop of commit de50f3c runs in its own environment, and is killed with all its processes while a
replay is in progress. `shop replay` of this checkout then starts on the same state: it upgrades the databases, repeats
the replay, and verifies. The exit code is 0 where every check holds. A clone without that commit only says so. Imports
the maker of order files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from tests.integration.shop.replay.sample import write_many

from freehold_shop.supervisor.plan import Profile

COMMIT: Final = "de50f3c"
_ROOT: Final = Path(__file__).parents[2]
_ORDERS: Final = 300
_POLL_SECONDS: Final = 0.1
_IN_FLIGHT: Final = ("placed", "stock-reserved", "payment-held")
_LIMIT_SECONDS: Final = 600.0


def main() -> None:
    """Parse the arguments, and run the trial on each profile."""
    parser = argparse.ArgumentParser(prog="python -m tests.heal.prerelease", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="retail files; without one, made orders")
    parser.add_argument("--profile", action="append", choices=[each.value for each in Profile], help="both without it")
    parser.add_argument("--after", type=int, default=40, metavar="N", help="kill when so many orders have ended")
    given = parser.parse_args()
    if _git("cat-file", "-e", f"{COMMIT}^{{commit}}").returncode:
        _print(f"left out: this clone does not have commit {COMMIT}; get it by: git fetch --unshallow")
        return
    directory = Path(tempfile.mkdtemp(prefix="freehold-prerelease-"))
    # PostgreSQL's account must be able to enter.
    directory.chmod(0o755)
    files = [each.absolute() for each in given.files] or [write_many(directory / "orders.csv", _ORDERS)]
    old = _checkout(directory / COMMIT)
    ok = [_survives(old, directory / each, each, files, given.after) for each in given.profile or [*map(str, Profile)]]
    _print(f"the state directories are in {directory}")
    sys.exit(0 if all(ok) else 1)


def _checkout(place: Path) -> Path:
    """Check the commit out and make its environment; returns its command `shop`."""
    place.mkdir()
    archive = _git("archive", COMMIT)
    archive.check_returncode()
    subprocess.run(["tar", "x"], cwd=place, input=archive.stdout, check=True)
    subprocess.run(["make", "--silent", ".venv/.stamp-servers"], cwd=place, check=True)
    return place / ".venv/bin/shop"


def _survives(old: Path, state: Path, profile: str, files: Sequence[Path], after: int) -> bool:
    where = ["--state", str(state)]
    quiet = ["--profile", profile, "--orders-per-second", "0", "--json"]
    with contextlib.ExitStack() as stack:
        running = subprocess.Popen([old, "run", *where, *quiet], stdout=subprocess.PIPE, text=True)
        stack.callback(_kill, running)
        gateway = _started(running)
        replaying = subprocess.Popen([old, "replay", *where, *files], stdout=subprocess.DEVNULL)
        stack.callback(_kill, replaying)
        orders = _in_mid_flight(gateway, replaying, after)
    _print(f"{profile}: killed with {', '.join(f'{count} {status}' for status, count in orders.items())}")
    new = [sys.executable, "-m", "freehold_shop.cli.main", "replay", *where, "--profile", profile, "--json"]
    done = subprocess.run([*new, *map(str, files)], stdout=subprocess.PIPE, check=False)
    checks = json.loads(done.stdout)["verify"]["checks"] if done.stdout else []
    failed = [f"{each['name']}: {each['detail']}" for each in checks if not each["ok"]]
    _print("\n".join([f"{profile}: {len(checks) - len(failed)} of {len(checks)} checks hold", *failed]))
    return done.returncode == 0 and bool(checks)


def _started(running: subprocess.Popen[str]) -> str:
    """The gateway's URL, once the shop is ready."""
    assert running.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = running.stdout.readline()
        if not line:
            sys.exit(f"the shop of {COMMIT} did not start")
        text += line
    return str(json.loads(text)["urls"]["gateway"])


def _in_mid_flight(gateway: str, replaying: subprocess.Popen[bytes], after: int) -> Mapping[str, int]:
    """Wait until so many orders have ended, while others are in flight; returns how many are in each status."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while replaying.poll() is None and time.monotonic() < deadline:
        orders = _orders(gateway)
        in_flight = sum(orders.get(status, 0) for status in _IN_FLIGHT)
        if in_flight and sum(orders.values()) - in_flight >= after:
            return orders
        time.sleep(_POLL_SECONDS)  # the shop places the orders in other processes, which send no signal
    sys.exit(f"the replay of {COMMIT} ended before it was killed, or made no progress; give it more orders")


def _orders(gateway: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    try:
        with urllib.request.urlopen(f"{gateway}/orders/summary", timeout=10) as answer:
            rows: list[dict[str, Any]] = json.load(answer)
    except OSError:  # the gateway is busy
        return counts
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + int(row["number"])
    return counts


def _kill(running: subprocess.Popen[Any]) -> None:
    """Kill a process and all processes below it, including servers; returns when they have ended."""
    if running.poll() is not None:
        return
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    running.wait()
    psutil.wait_procs(family, timeout=60)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, check=False)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

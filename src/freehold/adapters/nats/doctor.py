"""The checks of `freehold doctor` on a NATS server. Adapter: imports the database port's results and its package."""

from __future__ import annotations

import re
from typing import Any, Final

from freehold.adapters.nats.condition import examine_limits, server_time
from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import ApiError, NobodyAnswers, as_outage
from freehold.adapters.nats.identity import count_strangers
from freehold.adapters.nats.names import Layout, Names
from freehold.clock import SystemClock
from freehold.database import CheckResult, check_clock

__all__ = ["run_checks"]

_OLDEST_VERSION: Final = (2, 9)


async def run_checks(connection: NatsConnection, names: Names, timeout_seconds: float) -> list[CheckResult]:
    """Check version, storage, history, limits and clock. Raises `Unavailable`."""
    version = tuple(int(number) for number in re.findall(r"\d+", connection.server_version)[:2])
    clock = SystemClock()
    asked_at = clock.now()
    try:
        info = await connection.ask(f"STREAM.INFO.{names.log}")
    except ApiError as error:
        raise as_outage(error, "NATS cannot report the state of the log") from error
    answered_at = clock.now()
    config = info["config"]
    return [
        CheckResult(
            "broker version",
            ok=version >= _OLDEST_VERSION,
            detail=f"nats-server {connection.server_version}",
            fix="" if version >= _OLDEST_VERSION else "nats-server 2.9 or newer",
        ),
        CheckResult(
            "broker storage",
            ok=config["storage"] == "file",
            detail=f"storage={config['storage']}, replicas={config.get('num_replicas', 1)}",
            fix="" if config["storage"] == "file" else "let Freehold create the stream, or create it with file storage",
        ),
        _history(info, await count_strangers(connection, names, timeout_seconds)),
        CheckResult(
            "broker confirmation",
            ok=True,
            detail="a confirmed message survives process-kill; against loss of power set "
            "`sync_interval: always` (2.10 or newer) or run three replicas",
        ),
        await examine_limits(connection, info),
        await _examine_isolation(connection),
        check_clock("broker clock", server_time(info), asked_at, answered_at),
    ]


async def _examine_isolation(connection: NatsConnection) -> CheckResult:
    """Check whether these credentials can list streams: then they can also read and change all of them."""
    try:
        await connection.ask("STREAM.NAMES")
    except (ApiError, NobodyAnswers):
        return CheckResult("broker isolation", ok=True, detail="these credentials do not reach data of other services")
    return CheckResult(
        "broker isolation",
        ok=True,
        detail="these credentials may read and change everything",
        fix="give each service an account: freehold broker accounts",
    )


def _history(info: dict[str, Any], strangers: int | None) -> CheckResult:
    replaces = Layout.read(info["config"]).replaces
    lost = f" in place of one made {replaces}, which NATS has lost with all undelivered messages" if replaces else ""
    counted = "these credentials cannot read the positions of all groups"
    if strangers is not None:
        counted = f"{strangers} positions belong to another log"
    return CheckResult(
        "broker log",
        ok=not strangers,
        detail=f"made {info['created']}{lost}; {counted}",
        fix="the stream was made again: each group reads from the earliest message as soon as it runs",
    )

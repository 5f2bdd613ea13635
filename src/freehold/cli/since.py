"""Points in time on a command line: so long ago, or a timestamp. Face: imports click."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from freehold.cli.numbers import SECONDS_MAX

__all__ = ["SINCE", "Since"]

_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d)")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Since(click.ParamType[datetime]):
    """`90s`, `30m`, `2h`, `3d`, or a timestamp such as `2030-01-31T12:00:00Z`; without a time zone it is UTC."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time, in UTC. Fails as wrong usage, also for one that is still to come."""
        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC)
        text = str(value).strip()
        span = _SPAN.fullmatch(text)
        if span is not None:
            seconds = float(span[1]) * _UNIT_SECONDS[span[2]]
            if seconds > SECONDS_MAX:
                self.fail(f"{value!r} is more than ten years.", param, ctx)
            return now - timedelta(seconds=seconds)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{value!r} is neither a time span such as 2h nor a timestamp.", param, ctx)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        if found > now:
            self.fail(f"{value!r} is still to come.", param, ctx)
        return found


SINCE: Final = Since()
"""The type of `--since`."""

"""Errors of running a shop. Imports Freehold's errors only."""

from __future__ import annotations

from freehold import ConfigurationError, Unavailable

__all__ = ["ControlRefused", "ShopAlreadyRuns", "ShopDidNotStart", "ShopNotRunning"]


class ShopNotRunning(Unavailable):
    """No supervisor runs on the state directory."""


class ShopAlreadyRuns(ConfigurationError):
    """A supervisor runs on the state directory already; `pid` is its process."""

    def __init__(self, state_directory: str, pid: int) -> None:
        super().__init__(
            f"a shop already runs on {state_directory}, as process {pid}",
            hint="stop it, or choose another directory with --state",
        )
        self.pid = pid


class ShopDidNotStart(Unavailable):
    """The shop was not ready in time, or a part of it could not be started; the logs have the reason."""


class ControlRefused(Unavailable):
    """The supervisor cannot do what was requested now."""

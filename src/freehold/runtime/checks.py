"""What must fit together before a service starts. Runtime: imports the foundation, the ports, the settings."""

from __future__ import annotations

from freehold.broker import BrokerFeatures
from freehold.errors import ConfigurationError
from freehold.settings import Settings

__all__ = ["check_windows"]


def check_windows(settings: Settings, features: BrokerFeatures) -> None:
    """Receipts must outlive everything that can bring a message again. Raises `ConfigurationError`."""
    window = settings.dedup_window_seconds
    horizons = {
        f"the redelivery horizon of {features.technology}": features.redelivery_horizon_seconds,
        "replay_horizon_seconds": settings.replay_horizon_seconds,
    }
    for name, horizon in horizons.items():
        if window < horizon:
            raise ConfigurationError(
                f"service '{settings.service}': dedup_window_seconds is {window:g}, and {name} is {horizon:g}:"
                " a message could come again after its receipt was pruned",
                hint=f"set dedup_window_seconds to {horizon:g} or more",
            )

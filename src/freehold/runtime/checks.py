"""What must fit together before a service starts. Runtime: imports the foundation, the ports, the settings."""

from __future__ import annotations

from freehold.broker import BrokerFeatures
from freehold.errors import ConfigurationError
from freehold.settings import Settings

__all__ = ["check_lanes", "check_windows", "lanes_in_order"]


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


def lanes_in_order(outbox_partitions: int, broker_partitions: int) -> bool:
    """Whether all of an outbox partition comes to one partition of the broker: both take the same hash of the key."""
    return outbox_partitions % broker_partitions == 0


def check_lanes(settings: Settings, outbox_partitions: int, broker_partitions: int) -> None:
    """Where tokens are given out, what they name must come in order. Raises `ConfigurationError`."""
    if settings.token_secret and not lanes_in_order(outbox_partitions, broker_partitions):
        raise ConfigurationError(
            f"service '{settings.service}': its outbox has {outbox_partitions} partitions, no multiple of the"
            f" broker's {broker_partitions}: consistency tokens could not be waited for",
            hint="use a database or a broker whose partitions fit, or take token_secret away",
        )

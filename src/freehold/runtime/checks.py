"""What must fit together before a service starts. Runtime: imports the foundation, the ports, the settings."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.broker import BrokerFeatures
from freehold.errors import ConfigurationError, DeclarationError
from freehold.messages import MessageKind, message_type, registry, upcasters
from freehold.projection.declaration import Projection
from freehold.settings import Settings

__all__ = ["check_lanes", "check_versions", "check_windows", "lanes_in_order"]


def check_versions(projections: Iterable[Projection]) -> None:
    """Each declared version of an event that a projection handles must come to a handler of it: one that does not would
    be left out of the read model without a word. Called once all modules are imported. Raises `DeclarationError`.
    """
    for projection in projections:
        handled = {(each.name, each.version) for each in map(message_type, projection.handled)}
        names = {name for name, _ in handled}
        for name, version in sorted(handled):
            if upcasters.find(name, version) is not None:
                raise DeclarationError(
                    f"projection '{projection.name}' handles '{name}' version {version}, which never comes: an upcaster"
                    " leads on from it",
                    hint="handle what it leads to",
                )
        for each in registry:
            left_out = (
                each.kind is MessageKind.EVENT and each.name in names and (each.name, each.version) not in handled
            )
            if left_out and upcasters.find(each.name, each.version) is None:
                raise DeclarationError(
                    f"projection '{projection.name}' handles '{each.name}', and not its version {each.version}",
                    hint="handle that as well, or write the upcaster that leads to what is handled",
                )


def check_windows(settings: Settings, features: BrokerFeatures) -> None:
    """Receipts must outlive everything that can bring a message again. Raises `ConfigurationError`."""
    window = settings.dedup_window_seconds
    horizons = {
        f"the redelivery horizon of {features.technology}": features.redelivery_horizon_seconds,
        "replay_horizon_seconds": settings.replay_horizon_seconds,
        "outbox_sent_retention_seconds": settings.outbox_sent_retention_seconds,
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

"""The settings of the shop's services beside Freehold's own: addresses and time limits.

The supervisor calls `configure` before it forks; a service without a supervisor reads `SHOP_<NAME>_URL` and the others
from the environment. Imports the standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DEFAULT_PORTS", "OUTBOX_SENT_RETENTION_SECONDS", "ShopSettings", "configure", "settings"]

DEFAULT_PORTS: Mapping[str, int] = {
    "gateway": 8000,
    "users": 8001,
    "reference": 8002,
    "catalog": 8003,
    "inventory": 8004,
    "orders": 8005,
    "payments": 8006,
    "shipping": 8007,
    "notifications": 8008,
    "providers": 8009,
    "overview": 8010,
}
OUTBOX_SENT_RETENTION_SECONDS = 86_400.0
"""The default of how long messages are kept after their confirmation, to be resent where the broker has lost them."""


def _default_urls() -> Mapping[str, str]:
    return {
        name: os.environ.get(f"SHOP_{name.upper()}_URL", f"http://127.0.0.1:{port}")
        for name, port in DEFAULT_PORTS.items()
    }


def _seconds(name: str, default: float) -> float:
    return float(os.environ.get(f"SHOP_{name}_SECONDS", default))


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The shop's settings. `urls` are base addresses by service name, and of the `providers`.

    checkout                  the checkout of orders that name none: `saga` or `choreographed`.
    hold_seconds              how long inventory holds goods for an order that is not confirmed.
    call_timeout_seconds      time limit of a call from one service to another.
    provider_timeout_seconds  time limit of a call to the payment and e-mail providers.
    """

    urls: Mapping[str, str] = field(default_factory=_default_urls)
    checkout: str = field(default_factory=lambda: os.environ.get("SHOP_CHECKOUT", "saga"))
    hold_seconds: float = field(default_factory=lambda: _seconds("HOLD", 900.0))
    call_timeout_seconds: float = field(default_factory=lambda: _seconds("CALL_TIMEOUT", 2.0))
    provider_timeout_seconds: float = field(default_factory=lambda: _seconds("PROVIDER_TIMEOUT", 5.0))


_configured: list[ShopSettings] = []


def configure(wanted: ShopSettings) -> None:
    """Use these settings from now on, in this process and in those forked from it."""
    _configured[:] = [wanted]


def settings() -> ShopSettings:
    """The settings of this process; without `configure` they are read from the environment at the first call."""
    if not _configured:
        _configured.append(ShopSettings())
    return _configured[0]

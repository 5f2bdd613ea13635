"""The processes of a shop that ended without being killed: the supervisor restarts them, so only a count shows it.

Imports the shop's client.
"""

from __future__ import annotations

from collections.abc import Mapping

from freehold_shop.supervisor.client import Shop

__all__ = ["ended_by_themselves", "restarts"]


def restarts(shop: Shop) -> Mapping[str, int]:
    """How often each process was restarted since the shop began."""
    return {f"{each.service}/{each.instance}": each.restarts for each in shop.state().processes}


def ended_by_themselves(shop: Shop, before: Mapping[str, int], killed: str = "") -> list[str]:
    """The processes that were restarted since then, except those of a `killed` service, with the log of their end."""
    ended = [name for name, count in restarts(shop).items() if count > before[name]]
    return [_logged_end(shop, name) for name in ended if name.partition("/")[0] != killed]


def _logged_end(shop: Shop, name: str) -> str:
    log = (shop.state_directory / "logs" / "supervisor.log").read_text(encoding="utf-8", errors="replace")
    lines = [line for line in log.splitlines() if f" {name} (process " in line]
    return lines[-1].partition(": ")[2] if lines else f"{name} ended by itself"

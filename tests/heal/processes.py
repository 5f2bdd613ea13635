"""The processes of a shop that ended although nobody ended them: they are started again, and nobody would notice.

Imports the shop's client.
"""

from __future__ import annotations

from collections.abc import Mapping

from freehold_shop.supervisor.client import Shop

__all__ = ["ended_by_themselves", "restarts"]


def restarts(shop: Shop) -> Mapping[str, int]:
    """How often each process was started again since the shop began."""
    return {f"{each.service}/{each.instance}": each.restarts for each in shop.state().processes}


def ended_by_themselves(shop: Shop, before: Mapping[str, int], killed: str = "") -> list[str]:
    """Those that were started again since then, but for those of a service that was killed; with what the supervisor
    said of their last end.
    """
    ended = [name for name, count in restarts(shop).items() if count > before[name]]
    return [_said_of(shop, name) for name in ended if name.partition("/")[0] != killed]


def _said_of(shop: Shop, name: str) -> str:
    log = (shop.state_directory / "logs" / "supervisor.log").read_text(encoding="utf-8", errors="replace")
    said = [line for line in log.splitlines() if f" {name} (process " in line]
    return said[-1].partition(": ")[2] if said else f"{name} ended by itself"

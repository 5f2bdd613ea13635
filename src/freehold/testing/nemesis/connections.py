"""Disturbances of the network, by a proxy. Testing: imports the proxy and its sibling `disturbance`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

from freehold.testing.nemesis.disturbance import Disturbance
from freehold.testing.network.lost_answers import Exchange, Loss, LostAnswers
from freehold.testing.network.proxy import TcpProxy
from freehold.testing.network.stream import Direction

__all__ = ["lost_answers", "network_faults"]

_DELAY_SECONDS: Final = (0.02, 0.2)
_BYTES_PER_SECOND: Final = (20_000.0, 200_000.0)


def network_faults(
    prefix: str, proxies: Mapping[str, TcpProxy], *, seconds: tuple[float, float], groups: frozenset[str] = frozenset()
) -> Sequence[Disturbance]:
    """The faults of a network behind these proxies, one kind each: what is chosen is one of them, or all.

    `partition`, `one-way`, `half-open` (open connections only), `reset`, `cut`, `slow` (a delay and little bandwidth).
    """
    network = _Network(proxies)
    # One at a time, since the end of one heals all of a proxy.
    together = groups | {f"{prefix}-network"}
    lasting = {"partition": network.partition, "one-way": network.one_way, "slow": network.slow}
    once = {"half-open": network.half_open, "reset": network.reset, "cut": network.cut}
    return [
        *(
            Disturbance(name=f"{prefix}-{name}", begin=begin, end=network.heal, seconds=seconds, groups=together)
            for name, begin in lasting.items()
        ),
        *(Disturbance(name=f"{prefix}-{name}", begin=begin, groups=together) for name, begin in once.items()),
    ]


class _Network:
    """The network behind some proxies. `chosen` are those of the fault that is on."""

    def __init__(self, proxies: Mapping[str, TcpProxy]) -> None:
        self._proxies = proxies
        self._chosen: Sequence[TcpProxy] = ()

    async def partition(self, source: random.Random) -> str:
        name = self._choose(source)
        for each in self._chosen:
            each.partition()
        return name

    async def one_way(self, source: random.Random) -> str:
        name, direction = self._choose(source), source.choice(list(Direction))
        for each in self._chosen:
            each.partition(direction)
        return f"{name}, nothing {direction}"

    async def slow(self, source: random.Random) -> str:
        name = self._choose(source)
        for each in self._chosen:
            each.delay(source.uniform(*_DELAY_SECONDS))
            each.limit(source.uniform(*_BYTES_PER_SECOND))
        return name

    async def half_open(self, source: random.Random) -> str:
        name = self._choose(source)
        for each in self._chosen:
            each.half_open()
        return name

    async def reset(self, source: random.Random) -> str:
        name = self._choose(source)
        return f"{name}, {sum(each.reset() for each in self._chosen)} connections"

    async def cut(self, source: random.Random) -> str:
        name = self._choose(source)
        return f"{name}, {sum(each.cut() for each in self._chosen)} connections"

    async def heal(self) -> None:
        for each in self._chosen:
            each.heal()

    def _choose(self, source: random.Random) -> str:
        name = source.choice([*self._proxies, *(["all"] if len(self._proxies) > 1 else [])])
        self._chosen = list(self._proxies.values()) if name == "all" else [self._proxies[name]]
        return name


def lost_answers(
    name: str,
    proxies: Sequence[tuple[TcpProxy, Exchange]],
    *,
    seconds: tuple[float, float],
    chance: float = 0.3,
    groups: frozenset[str] = frozenset(),
) -> Disturbance:
    """Requests are carried out, and a part of their answers is lost: by chance, in every way of `Loss`."""
    counted: list[LostAnswers] = []

    async def begin(source: random.Random) -> str:
        loss = source.choice(list(Loss))
        for proxy, exchange in proxies:
            counted.append(proxy.lose_answers(exchange, lambda _: source.random() < chance, loss=loss))
        return f"in the way {loss}"

    async def end() -> None:
        for each in counted:
            each.end()
        counted.clear()

    return Disturbance(name=name, begin=begin, end=end, seconds=seconds, groups=groups)

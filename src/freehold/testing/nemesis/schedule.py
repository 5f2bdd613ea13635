"""When which disturbance begins and ends, drawn by a seed. Testing: imports its sibling `disturbance`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.testing.nemesis.disturbance import Disturbance

__all__ = ["Planned", "draw_schedule"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A disturbance that begins after `at` seconds and lasts `seconds`. `seed` draws its choices."""

    disturbance: Disturbance
    at: float
    seconds: float
    seed: int


def draw_schedule(
    disturbances: Sequence[Disturbance], *, seed: int, seconds: float, pause: tuple[float, float], at_once_max: int
) -> Sequence[Planned]:
    """The disturbances of a run of so many seconds; the same seed draws the same.

    They are drawn from a bag that has each as often as its weight says, and that is filled again when it is empty: a
    run that is long enough has every one.
    """
    source = random.Random(seed)
    planned: list[Planned] = []
    bag: list[Disturbance] = []
    now = source.uniform(*pause)
    while now < seconds:
        on = [each for each in planned if each.at + each.seconds > now]
        if len(on) < at_once_max and (chosen := _take(bag, disturbances, on, source)) is not None:
            lasts = min(source.uniform(*chosen.seconds), seconds - now)
            planned.append(Planned(chosen, now, lasts, source.getrandbits(32)))
        now += source.uniform(*pause)
    return planned


def _take(
    bag: list[Disturbance], disturbances: Sequence[Disturbance], on: Sequence[Planned], source: random.Random
) -> Disturbance | None:
    """Take the first of the bag that may be on beside the others; fill the bag again if there is none."""
    for _ in range(2):
        for place, each in enumerate(bag):
            if not any(each.name == other.disturbance.name or each.groups & other.disturbance.groups for other in on):
                return bag.pop(place)
        more = [each for each in disturbances for _ in range(each.weight)]
        source.shuffle(more)
        bag.extend(more)
    return None

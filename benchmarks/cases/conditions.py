"""What a case is given, and what it returns: both cross the border of a process as JSON. Imports the standard library
only, since the peers' environment has no Freehold.

A case is a program, `python -m benchmarks.cases.NAME CONDITIONS`, whose last line on standard output has its figures.
So the same benchmark runs on two checkouts of Freehold, and no process has run anything before. It checks what it did:
`expect` ends it where a message was lost, and no figure is shown then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CheckFailed", "Conditions", "expect", "given", "percentile", "print_figures"]


class CheckFailed(Exception):
    """What was measured is not what should have happened."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a case is given; each uses some of it.

    databases    URLs of empty databases.
    broker       URL of a broker, and in `prefix` a name for what this run stores there.
    directory    an empty directory.
    pids         the servers' processes; the processor time of these and their children is counted.
    variant      the part of a case that is measured.
    seconds, rate_per_second, concurrency, messages, instances  how much.
    rates_per_second  several rates, one after the other in the same processes.
    """

    databases: tuple[str, ...] = ()
    broker: str = "memory://"
    prefix: str = "bench"
    directory: str = ""
    pids: tuple[int, ...] = ()
    variant: str = ""
    seconds: float = 1.0
    rate_per_second: float = 0.0
    concurrency: int = 1
    messages: int = 0
    instances: int = 1
    rates_per_second: tuple[float, ...] = ()

    def to_json(self) -> str:
        """As an argument of a program."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Conditions:
        """Read it back."""
        found: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in found.items()}
        return cls(**values)


def given() -> Conditions:
    """The conditions on the command line."""
    return Conditions.from_json(sys.argv[1])


def print_figures(figures: Mapping[str, float]) -> None:
    """Write the figures, as the last line."""
    print(json.dumps(dict(figures)), flush=True)


def expect(found: object, wanted: object, what: str) -> None:
    """Raise `CheckFailed` where the two differ."""
    if found != wanted:
        raise CheckFailed(f"{what}: {found}, and should be {wanted}")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share (0 to 1) of the values is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

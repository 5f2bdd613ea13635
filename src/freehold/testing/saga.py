"""Explores a saga through every failure of its steps, also sagas of users. Testing: imports the saga pattern.

def test_checkout_ends_well_whatever_fails() -> None:
    report = explore(Checkout, CheckoutState(order_id="1", ...), replies={"hold": {"hold_id": "h"}})
    assert report.statuses.keys() == {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from freehold.saga.definition import Saga
from freehold.saga.store import SagaStatus
from freehold.testing.participants import SagaViolation
from freehold.testing.saga_run import SagaRun

__all__ = ["Exploration", "SagaRun", "SagaViolation", "explore"]

RUNS_MAX: Final = 200_000


@dataclass(slots=True)
class Exploration:
    """The result: how many different runs there are, and how many ended with each status."""

    runs: int = 0
    statuses: Counter[SagaStatus] = field(default_factory=Counter)


def explore(
    saga: type[Saga[Any]],
    state: Any,
    *,
    replies: Mapping[str, Mapping[str, Any]] | None = None,
    faults_max: int = 2,
    runs_max: int = RUNS_MAX,
) -> Exploration:
    """Simulate every run of the saga with at most `faults_max` faults, and check each. Raises `SagaViolation`.

    Checks: there is one terminal status. Completed means that every required step took effect once; compensated, that
    no effect is left. A step is not compensated before the steps after it, nor after the pivot took effect, nor if only
    code of the definition has failed. Commands can be made at every point.

    Faults: a request is refused, or arrives late or never; its reply arrives late, never or twice; a call raises after
    its effect; code of the definition (local functions, `make`, `make_compensation`, `merge`, `on_completed`,
    `on_compensated`) raises once, or until the instance needs attention. Between two inputs the instance is stored and
    read again. Local functions and hooks are not called: they succeed, refuse, or raise. The replies of parallel steps
    arrive in every order; another order than the first counts as a fault. `replies` are the fields of each step's
    reply.
    """
    report = Exploration()
    script: list[int] | None = []
    while script is not None:
        if report.runs >= runs_max:
            raise SagaViolation(f"there are more than {runs_max} runs; lower faults_max")
        path = _Path(script, faults_max)
        run = SagaRun(saga.definition(), state, path.choose, replies)
        try:
            report.statuses[run.run()] += 1
        except SagaViolation as violation:
            raise SagaViolation(f"{violation}; {path}") from None
        report.runs += 1
        script = path.following()
    return report


class _Path:
    """The choices of one run: first those of the script, then always the first option. Depth-first enumeration."""

    def __init__(self, script: Sequence[int], faults_max: int) -> None:
        self._script = script
        self._faults_max = faults_max
        self._taken: list[tuple[str, str, int, int]] = []
        self._faults = 0

    def choose(self, about: str, options: Sequence[str]) -> str:
        """Return the option that the script names; past its end the first one."""
        position = len(self._taken)
        open_options = len(options) if self._faults < self._faults_max else 1
        index = self._script[position] if position < len(self._script) else 0
        self._taken.append((about, options[index], index, open_options))
        self._faults += index != 0
        return options[index]

    def following(self) -> list[int] | None:
        """The script of the next run, None after the last."""
        indexes = [index for _, _, index, _ in self._taken]
        for position in range(len(indexes) - 1, -1, -1):
            if indexes[position] + 1 < self._taken[position][3]:
                return [*indexes[:position], indexes[position] + 1]
        return None

    def __str__(self) -> str:
        faults = [f"{about}: {chosen}" for about, chosen, index, _ in self._taken if index]
        return "; ".join(faults) or "without faults"

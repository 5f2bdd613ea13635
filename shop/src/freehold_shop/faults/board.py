"""The faults that are on, and until when. Imports the definition of a fault and the control wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from freehold import ConfigurationError, FreeholdError, Unavailable
from freehold_shop.faults.fault import Ending, Fault, Site
from freehold_shop.supervisor.control import FaultState

__all__ = ["FaultBoard"]

SECONDS_MAX = 86_400.0
_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class FaultBoard:
    """Begins and ends faults on a site. `now` is a monotonic clock in seconds."""

    site: Site
    faults: Mapping[str, Fault]
    now: Callable[[], float]
    _until: dict[str, float | None] = field(default_factory=dict)
    _endings: dict[str, Ending] = field(default_factory=dict)
    _reasons: dict[str, str] = field(default_factory=dict)

    def states(self) -> list[FaultState]:
        """The state of every fault."""
        return [self._state(fault) for fault in self.faults.values()]

    def on(self) -> list[str]:
        """The names of the faults that are on."""
        return list(self._until)

    def outliving(self) -> list[str]:
        """The names of the faults that are on and outlive the shop."""
        return [name for name in self._until if self.faults[name].outlives_the_shop]

    def end_left(self, names: Iterable[str]) -> None:
        """End those of these faults that outlive the shop and that an earlier run left on, as soon as possible."""
        for name in names:
            if name in self.faults and self.faults[name].outlives_the_shop:
                self._until[name] = self.now()

    def begin(self, name: str | None, seconds: float | None) -> list[FaultState]:
        """Begin a fault, or change the end of one that is on. Raises what the fault raises, `ConfigurationError`."""
        fault = self._find(name)
        if seconds is not None and not 0 < seconds <= SECONDS_MAX:
            raise ConfigurationError("a fault lasts more than 0 seconds and at most a day")
        if seconds is not None and not fault.lasting:
            raise ConfigurationError(f"{fault.name} happens once and does not last", hint="leave the duration out")
        if fault.name in self._endings:
            raise Unavailable(f"{fault.name} is being healed", hint="wait until that is over")
        if fault.name not in self._until:
            fault.begin(self.site)
        self._reasons.pop(fault.name, None)
        if fault.lasting:
            self._until[fault.name] = None if seconds is None else self.now() + seconds
        return [self._state(fault)]

    def heal(self, name: str | None) -> list[FaultState]:
        """End one fault, or all that are on, in the catalogue's order; returns those that ended or are ending.

        Ends the others first, then raises the error of the first that cannot end. A later failure is in the fault's
        `reason`.
        """
        names = [each for each in self.faults if each in self._until] if name is None else [self._find(name).name]
        healed: list[FaultState] = []
        refused: FreeholdError | None = None
        for each in names:
            try:
                healed += self._end(each)
            except FreeholdError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return healed

    def next_end(self) -> float | None:
        """When the next fault ends by itself, in the time of `now`."""
        times = (until for name, until in self._until.items() if name not in self._endings)
        return min((until for until in times if until is not None), default=None)

    def end_due(self) -> list[str]:
        """End the faults whose time is over; one that cannot end now is tried again a second later.

        Returns the names of the faults that are over now, including those whose end took longer.
        """
        ended = [name for name in list(self._endings) if self._is_over(name)]
        for name, until in list(self._until.items()):
            if until is None or until > self.now() or name in self._endings:
                continue
            try:
                ended += [state.name for state in self._end(name) if not state.on]
            except FreeholdError as error:
                self._note_failure(name, error)
        return ended

    def _is_over(self, name: str) -> bool:
        """Whether a fault that is ending is over; one whose end failed stays on."""
        try:
            if not self._endings[name].poll():
                return False
        except FreeholdError as error:
            del self._endings[name]
            self._note_failure(name, error)
            return False
        del self._endings[name], self._until[name]
        return True

    def _note_failure(self, name: str, error: FreeholdError) -> None:
        self._reasons[name] = str(error)
        if self._until[name] is not None:
            self._until[name] = self.now() + _RETRY_SECONDS

    def _end(self, name: str) -> list[FaultState]:
        fault = self.faults[name]
        if fault.end is None or name not in self._until:
            return []
        if name not in self._endings:
            ending = fault.end(self.site)
            self._reasons.pop(name, None)
            if ending is None:
                del self._until[name]
            else:
                self._endings[name] = ending
        return [self._state(fault)]

    def _find(self, name: str | None) -> Fault:
        if name is None or name not in self.faults:
            raise ConfigurationError(f"there is no fault '{name}'", hint="shop faults lists them")
        return self.faults[name]

    def _state(self, fault: Fault) -> FaultState:
        until = self._until.get(fault.name)
        return FaultState(
            name=fault.name,
            on=fault.name in self._until,
            description=fault.description,
            lasting=fault.lasting,
            seconds_left=None if until is None else max(0.0, until - self.now()),
            ending=fault.name in self._endings,
            reason=self._reasons.get(fault.name, ""),
        )

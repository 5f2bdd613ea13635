"""Enumerates every sequence of choices, depth first, with at most a given number of faults. Testing: imports the
standard library only.

A run asks for each choice. The first run takes the first option everywhere, and each further run differs from the one
before in its last choice that has an option left. So a run must be the same whenever its choices are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Choices", "UnknownChoice", "all_choices"]


class UnknownChoice(ValueError):
    """A combination names a choice that its run does not come to, or an option that it does not have."""


@dataclass(frozen=True, slots=True)
class _Taken:
    about: str
    chosen: str
    index: int
    open_options: int


class Choices:
    """The choices of one run: first those of `script`, then the first option.

    The first option of a choice means that nothing fails; another one counts as a fault. The options of a `free` choice
    count as none.
    """

    def __init__(self, script: Sequence[int] = (), faults_max: int | None = None) -> None:
        self._script = script
        self._faults_max = faults_max
        self._named: Mapping[str, str] | None = None
        self._taken: list[_Taken] = []
        self._asked: Counter[str] = Counter()
        self._faults = 0
        self.cut = False

    @classmethod
    def of(cls, named: Mapping[str, str]) -> Choices:
        """The one run with these options, by what they are about; the first option elsewhere."""
        found = cls()
        found._named = named
        return found

    def choose(self, about: str, options: Sequence[str], *, free: bool = False) -> str:
        """Return an option. Raises `UnknownChoice`."""
        self._asked[about] += 1
        if self._asked[about] > 1:
            about = f"{about} #{self._asked[about]}"
        if self._named is not None:
            return self._choose_named(about, options)
        exhausted = not free and self._faults_max is not None and self._faults >= self._faults_max
        self.cut = self.cut or (exhausted and len(options) > 1)
        index = self._script[len(self._taken)] if len(self._taken) < len(self._script) else 0
        self._taken.append(_Taken(about, options[index], index, 1 if exhausted else len(options)))
        self._faults += index != 0 and not free
        return options[index]

    def following(self) -> list[int] | None:
        """The script of the next run, None after the last."""
        for position in range(len(self._taken) - 1, -1, -1):
            if self._taken[position].index + 1 < self._taken[position].open_options:
                return [*(each.index for each in self._taken[:position]), self._taken[position].index + 1]
        return None

    @property
    def named(self) -> Mapping[str, str]:
        """What was chosen other than the first option."""
        return {each.about: each.chosen for each in self._taken if each.index}

    def check_used(self) -> None:
        """Raise `UnknownChoice` for a name that the run did not come to."""
        known = {each.about for each in self._taken}
        for about in self._named or {}:
            if about not in known:
                raise UnknownChoice(f"the run has no choice '{about}'; it has: {', '.join(sorted(known)) or 'none'}")

    def _choose_named(self, about: str, options: Sequence[str]) -> str:
        chosen = (self._named or {}).get(about, options[0])
        if chosen not in options:
            raise UnknownChoice(f"'{about}' has no option '{chosen}'; it has: {', '.join(options)}")
        self._taken.append(_Taken(about, chosen, options.index(chosen), 1))
        return chosen


def all_choices(faults_max: int, runs_max: int) -> Iterator[Choices]:
    """The choices of each run; make them before you ask for the next. Raises `ValueError` for more than `runs_max`."""
    script: list[int] | None = []
    runs = 0
    while script is not None:
        if runs >= runs_max:
            raise ValueError(f"there are more than {runs_max} runs: lower faults_max, or raise runs_max")
        choices = Choices(script, faults_max)
        yield choices
        runs += 1
        script = choices.following()

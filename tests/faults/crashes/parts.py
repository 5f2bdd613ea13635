"""The parts of `python -m tests.faults crash-points`: scenarios on engines. Imports the scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.faults.crashes.calls import Calls
from tests.faults.crashes.campaign import KeptScenario, Part
from tests.faults.crashes.checkouts import Checkouts
from tests.faults.crashes.letters import Letters
from tests.faults.crashes.readmodels import ReadModels
from tests.faults.crashes.server_site import on_mariadb, on_postgres
from tests.faults.crashes.site import Site, on_files

__all__ = ["PARTS"]

_VERIFIED: Final = "`shop verify`, the providers' ledger, nothing left in progress"


def _checkouts(site: Callable[[Path], Site]) -> Callable[[Path], KeptScenario]:
    def scenario(directory: Path) -> KeptScenario:
        def make() -> Site:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            return site(directory)

        return Checkouts(make)

    return scenario


PARTS: Final[Mapping[str, Part]] = {
    part.name: part
    for part in (
        Part("checkouts-sqlite", _checkouts(on_files), _VERIFIED, pairs=200),
        Part("checkouts-postgresql", _checkouts(on_postgres), _VERIFIED, once=True),
        Part("checkouts-mariadb", _checkouts(on_mariadb), _VERIFIED, once=True),
        Part("calls", lambda _: Calls(), "each saga ends once, its effects all kept or all compensated"),
        Part("letters", lambda _: Letters(), "each message handled once, or an operator has decided on it"),
        Part("read-models", lambda _: ReadModels(), "each event once in each read model, nothing parked, one live"),
    )
}
"""By name. All on SQLite and the embedded broker are killed at every occurrence, the others at each point once."""

"""Names in the environment and in the settings file that nothing reads: most often misspelt. Runtime: imports the
settings.

A process knows its own services, not those of other processes. So the variable of an unknown service is accepted:
`FREEHOLD_BILLING_DATABASE` belongs to another process. It is reported if the service's name is almost one of this
process (`FREEHOLD_ODERS_DATABASE`), unless the settings file has a table for it, or the correct variable is set as
well. Any other unread name that begins with `FREEHOLD_` is reported.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from freehold.errors import ConfigurationError
from freehold.fields import nearest
from freehold.settings import configured_services, settings_file, variables_of

__all__ = ["UnreadName", "unread_names"]

_PREFIX: Final = "FREEHOLD_"
_SHARED: Final = ("FREEHOLD_APP", "FREEHOLD_BROKER", "FREEHOLD_BROKER_PREFIX", "FREEHOLD_SETTINGS")
_FOR_ANY: Final = ("FREEHOLD_PEERS_", "FREEHOLD_TEST_")
_ANYBODY: Final = "x"
_FIELDS: Final = tuple(each.removeprefix("FREEHOLD_X_") for each in variables_of(_ANYBODY))
_SERVICE_CUTOFF: Final = 0.82
"""From which similarity on a service's name counts as a misspelt one: `oders` for `orders`, but not `users`."""


@dataclass(frozen=True, slots=True)
class UnreadName:
    """A variable, or a table of the settings file, that nothing here reads. `nearest` is the name that may be meant."""

    name: str
    nearest: str

    @property
    def message(self) -> str:
        """The warning. It contains names only."""
        return f"nothing reads {self.name}" + (f": is {self.nearest} meant?" if self.nearest else "")


def unread_names(services: Iterable[str], environ: Mapping[str, str] | None = None) -> list[UnreadName]:
    """Names that look misspelt to a process that runs these services, in order."""
    environ = os.environ if environ is None else environ
    known = sorted(set(services))
    found = [_variable(name, known, environ) for name in sorted(environ) if name.startswith(_PREFIX)]
    return [each for each in [*found, *_tables(known, environ)] if each is not None]


def _variable(name: str, services: Collection[str], environ: Mapping[str, str]) -> UnreadName | None:
    if name in _SHARED or (name.startswith(_FOR_ANY) and name not in _FOR_ANY):
        return None
    read = {variable for service in services for variable in variables_of(service)}
    if name in read:
        return None
    parsed = _parsed(name)
    if parsed is None:
        return UnreadName(name, _nearest_variable(name, services))
    prefix, field = parsed
    near = nearest(prefix, map(_upper, services), cutoff=_SERVICE_CUTOFF)
    meant = f"{_PREFIX}{near}_{field}"
    if not near or meant in environ or prefix.lower().replace("_", "-") in _in_file(environ):
        return None
    return UnreadName(name, meant)


def _parsed(name: str) -> tuple[str, str] | None:
    """The service's prefix and the field of a variable that some service may read; None for other variables."""
    rest = name.removeprefix(_PREFIX)
    for field in sorted(_FIELDS, key=len, reverse=True):
        if rest.endswith(f"_{field}") and len(rest) > len(field) + 1:
            return rest.removesuffix(f"_{field}"), field
    return None


def _nearest_variable(name: str, services: Collection[str]) -> str:
    """The most similar variable: of the service that the name begins with, else of all services."""
    rest = name.removeprefix(_PREFIX)
    own = [each for each in map(_upper, services) if rest.startswith(f"{each}_")]
    if own:
        prefix = f"{max(own, key=len)}_"
        near = nearest(rest.removeprefix(prefix), _FIELDS)
        if near:
            return f"{_PREFIX}{prefix}{near}"
    every = [each.removeprefix(_PREFIX) for each in _SHARED]
    every += [f"{service}_{field}" for service in map(_upper, services) for field in _FIELDS]
    near = nearest(rest, every, cutoff=0.75)
    return _PREFIX + near if near else ""


def _tables(services: Collection[str], environ: Mapping[str, str]) -> Iterable[UnreadName]:
    """Tables `[services.<name>]` whose name is almost that of a known service that has no table itself."""
    tables = _in_file(environ)
    for name in sorted(tables - set(services)):
        near = nearest(name, services, cutoff=_SERVICE_CUTOFF)
        if near and near not in tables:
            yield UnreadName(f"[services.{name}]", f"[services.{near}]")


def _in_file(environ: Mapping[str, str]) -> set[str]:
    """Services that have a table in the settings file."""
    try:
        return configured_services(environ={}, file=settings_file(environ) if _is_named(environ) else None)
    except ConfigurationError:
        return set()  # raised where the settings are loaded


def _is_named(environ: Mapping[str, str]) -> bool:
    return "FREEHOLD_SETTINGS" in environ


def _upper(service: str) -> str:
    return service.upper().replace("-", "_")

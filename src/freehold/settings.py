"""Settings of a service, from the environment and `freehold.toml`. Runtime: imports the foundation and the ports.

The environment wins over the file, and in the file `[services.<name>]` wins over `[defaults]`. An error names the key
and the place where it stands, never its value: URLs hold passwords.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar, get_type_hints

from freehold.broker import BrokerOptions
from freehold.database import DatabaseOptions
from freehold.errors import ConfigurationError

__all__ = ["DEFAULT_DIRECTORY", "SETTINGS_FILE", "Settings", "configured_services", "project_modules"]

T = TypeVar("T")
SETTINGS_FILE = "freehold.toml"
DEFAULT_DIRECTORY = ".freehold/data"
_DAY_SECONDS = 86400.0
_OPTIONS: dict[str, type[Any]] = {"database_options": DatabaseOptions, "broker_options": BrokerOptions}
_NAMES_DATABASE = re.compile(r"FREEHOLD_[A-Z0-9_]+_DATABASE").fullmatch
_PEERS = "FREEHOLD_PEERS_"
_APART = frozenset({"service", "peers"})
_TOP_LEVEL = frozenset({"broker", "defaults", "peers", "project", "services"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a service runs with. Every field is a key of the file and `FREEHOLD_<SERVICE>_<FIELD>` of the environment.

    database, broker          URLs. Without them: SQLite files and the embedded broker below `./.freehold/data`.
    database_options, broker_options  tables in the file; `FREEHOLD_<SERVICE>_DATABASE_OPTIONS_POOL_SIZE` in the
                                      environment.
    workers                   batches of different partitions that are handled side by side.
    batch_limit               messages that one transaction handles.
    handler_timeout_seconds   for handlers that name no limit of their own.
    killed_attempts_max       how often a message is handed out without an end before it is given up.
    lease_seconds             after how long without a beat a relay's work is taken over.
    dedup_window_seconds      how long receipts are kept; not below what can bring a message again.
    replay_horizon_seconds    how long after its failure a dead letter may be replayed.
    token_secret              what consistency tokens are signed with, and services known to each other by: the same for
                              all services; several separated by commas, the first signs, all are taken.
    peers                     where the APIs of other services are, by name: the table `[peers]` of the file, for all
                              services, and `FREEHOLD_PEERS_<SERVICE>` of the environment.
    upgrade                   apply missing migrations at start; otherwise they are an error.
    """

    service: str
    database: str = field(repr=False)
    broker: str = field(repr=False)
    database_options: DatabaseOptions = field(default_factory=DatabaseOptions)
    broker_options: BrokerOptions = field(default_factory=BrokerOptions)
    workers: int = 4
    batch_limit: int = 64
    handler_timeout_seconds: float = 30.0
    killed_attempts_max: int = 5
    lease_seconds: float = 6.0
    poll_seconds: float = 1.0
    drain_seconds: float = 10.0
    dedup_window_seconds: float = 8 * _DAY_SECONDS
    replay_horizon_seconds: float = 7 * _DAY_SECONDS
    dead_letter_retention_seconds: float = 30 * _DAY_SECONDS
    saga_retention_seconds: float = 30 * _DAY_SECONDS
    idempotency_retention_seconds: float = _DAY_SECONDS
    prune_interval_seconds: float = 60.0
    upgrade: bool = True
    token_secret: str = field(default="", repr=False)
    peers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(
        cls, service: str, *, environ: Mapping[str, str] | None = None, file: Path | None = None, **overrides: Any
    ) -> Self:
        """Read the settings of one service; `overrides` win over everything.

        `file` is `FREEHOLD_SETTINGS` or `freehold.toml` in the working directory, and need not exist. Raises
        `ConfigurationError`.
        """
        environ = os.environ if environ is None else environ
        path = file or _path(environ)
        found = _from_file(path, service)
        found = _merge(found, _from_environment(environ, service))
        for name, options in _OPTIONS.items():
            found[name] = _build(options, found.get(name, {}), f"{name} of service '{service}'")
        values = _build_values(cls, found, f"service '{service}'")
        values.setdefault("database", f"sqlite:///./{DEFAULT_DIRECTORY}/{service}.db")
        values.setdefault("broker", f"embedded:///./{DEFAULT_DIRECTORY}/broker.db")
        values["peers"] = _peers(environ, path)
        return cls(**{**values, **overrides, "service": service})


def project_modules(*, environ: Mapping[str, str] | None = None, file: Path | None = None) -> list[str]:
    """Return the modules that declare the project's services: `[project] modules = ["shop.orders"]` in the file.

    Raises `ConfigurationError`.
    """
    path = file or _path(os.environ if environ is None else environ)
    modules = _table(_document(path).get("project", {}), f"{path}: project").get("modules", [])
    if not isinstance(modules, list) or not all(isinstance(each, str) for each in modules):
        raise ConfigurationError(f"{path}: project.modules must be a list of module names")
    return modules


def configured_services(*, environ: Mapping[str, str] | None = None, file: Path | None = None) -> set[str]:
    """Return the services that have a place of their own: `[services.<name>]` in the file, or
    `FREEHOLD_<NAME>_DATABASE` in the environment. Raises `ConfigurationError`.
    """
    environ = os.environ if environ is None else environ
    path = file or _path(environ)
    named = {key.removeprefix("FREEHOLD_").removesuffix("_DATABASE") for key in environ if _NAMES_DATABASE(key)}
    found = {name.lower().replace("_", "-") for name in named}
    return found | set(_table(_document(path).get("services", {}), f"{path}: services"))


def _peers(environ: Mapping[str, str], path: Path) -> dict[str, str]:
    """Addresses of other services' APIs: `[peers]` of the file, and `FREEHOLD_PEERS_<SERVICE>`, which wins."""
    found = _table(_document(path).get("peers", {}), f"{path}: peers")
    for name, url in found.items():
        if not isinstance(url, str):
            raise ConfigurationError(f"{path}: peers.{name} must be a URL")
    named = {key.removeprefix(_PEERS): url for key, url in environ.items() if key.startswith(_PEERS) and url}
    return found | {name.lower().replace("_", "-"): url for name, url in named.items()}


def _path(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("FREEHOLD_SETTINGS", SETTINGS_FILE))


def _document(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}", hint="is it valid TOML?") from error
    unknown = sorted(set(document) - _TOP_LEVEL)
    if unknown:
        raise ConfigurationError(
            f"{path}: unknown key '{unknown[0]}'", hint=f"known at the top: {', '.join(sorted(_TOP_LEVEL))}"
        )
    return document


def _from_file(path: Path, service: str) -> dict[str, Any]:
    document = _document(path)
    services = _table(document.get("services", {}), f"{path}: services")
    found: dict[str, Any] = {"broker": document["broker"]} if "broker" in document else {}
    found = _merge(found, _table(document.get("defaults", {}), f"{path}: defaults"))
    return _merge(found, _table(services.get(service, {}), f"{path}: services.{service}"))


def _from_environment(environ: Mapping[str, str], service: str) -> dict[str, Any]:
    """Look for the names that are known, and no others: `FREEHOLD_ORDERS_ARCHIVE_…` belongs to another service."""
    prefix = f"FREEHOLD_{service.upper().replace('-', '_')}_"
    found: dict[str, Any] = {}
    if environ.get("FREEHOLD_BROKER"):
        found["broker"] = environ["FREEHOLD_BROKER"]
    if environ.get("FREEHOLD_BROKER_PREFIX"):
        found["broker_options"] = {"prefix": environ["FREEHOLD_BROKER_PREFIX"]}
    for each in dataclasses.fields(Settings):
        if each.name in _OPTIONS:
            for option in dataclasses.fields(_OPTIONS[each.name]):
                value = environ.get(f"{prefix}{each.name}_{option.name}".upper())
                if value:
                    found.setdefault(each.name, {})[option.name] = value
        elif each.name not in _APART and environ.get(prefix + each.name.upper()):
            found[each.name] = environ[prefix + each.name.upper()]
    return found


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _build(cls: type[T], found: object, place: str) -> T:
    return cls(**_build_values(cls, _table(found, place), place))


def _build_values(cls: type[Any], found: Mapping[str, Any], place: str) -> dict[str, Any]:
    kinds = get_type_hints(cls)
    known = {each.name for each in dataclasses.fields(cls)} - _APART
    unknown = sorted(set(found) - known)
    if unknown:
        raise ConfigurationError(f"{place}: unknown setting '{unknown[0]}'", hint=f"known: {', '.join(sorted(known))}")
    return {key: _convert(value, kinds[key], f"{place}: '{key}'") for key, value in found.items()}


def _convert(value: object, kind: Any, place: str) -> object:
    if isinstance(value, str) and kind is bool:
        if value.lower() in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
            return value.lower() in {"1", "true", "yes", "on"}
        raise ConfigurationError(f"{place} must be true or false")
    if isinstance(value, str) and kind in {int, float}:
        try:
            return kind(value)
        except ValueError:
            raise ConfigurationError(f"{place} must be a number") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigurationError(f"{place} must be {kind.__name__}, and is {type(value).__name__}")
    return value


def _table(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{place} must be a table")
    return value

"""Settings of a service, from the environment and `freehold.toml`. Runtime: imports the foundation and the ports.

Keyword arguments override the environment, the environment overrides the file, and in the file `[services.<name>]`
overrides `[defaults]`. The same checks apply to all of them. An error names the key and its source, never its value:
URLs contain passwords.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from freehold.broker import BrokerOptions
from freehold.database import DatabaseOptions
from freehold.errors import ConfigurationError
from freehold.fields import bounded, check, convert, options_of, seconds, unknown_name, words

__all__ = [
    "DEFAULT_DIRECTORY",
    "SETTINGS_FILE",
    "Settings",
    "configured_services",
    "default_database",
    "project_modules",
    "settings_file",
    "variables_of",
]

SETTINGS_FILE = "freehold.toml"
DEFAULT_DIRECTORY = ".freehold/data"
_DAY_SECONDS = 86400.0
_OPTIONS: dict[str, type[Any]] = {"database_options": DatabaseOptions, "broker_options": BrokerOptions}
_NAMES_DATABASE = re.compile(r"FREEHOLD_[A-Z0-9_]+_DATABASE").fullmatch
_NAMES_FILE = "FREEHOLD_SETTINGS"
_PEERS = "FREEHOLD_PEERS_"
_APART = frozenset({"service", "peers"})
_FORMER = {
    "killed_attempts_max": "crash_attempts_max",
    "replay_horizon_seconds": "dead_letter_replay_window_seconds",
    "upgrade": "migrate_on_start",
}
"""Names from before the first release. They are refused: otherwise the settings would have no effect, unnoticed."""
_HINTS = frozenset({"auto", "broker", "database", "none"})
_TOP_LEVEL = frozenset({"broker", "defaults", "peers", "project", "services"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one service. Every field is a key of the file and `FREEHOLD_<SERVICE>_<FIELD>` of the
    environment.

    database, broker          URLs. By default: SQLite files and the embedded broker below `./.freehold/data`.
    database_options, broker_options  tables in the file, a dict or the class in Python;
                                      `FREEHOLD_<SERVICE>_DATABASE_OPTIONS_POOL_SIZE` in the environment.
    workers                   batches of different partitions that are handled concurrently.
    batch_limit               messages that one transaction handles.
    handler_timeout_seconds   for handlers without a limit of their own.
    crash_attempts_max        how many attempts of a message may begin and never finish before it is given up.
    lease_seconds             after how long without a heartbeat a relay's work is taken over.
    poll_seconds              how often a loop looks for work that it was not told of.
    hints                     what carries hints to the other processes of the service: `database`, `broker`, `none`, or
                              `auto`, the database where it can and the broker otherwise. The same in all of them.
    dedup_window_seconds      how long receipts are kept; at least as long as a message may be delivered again.
    dead_letter_replay_window_seconds  how long after its failure a dead letter may be replayed.
    outbox_sent_retention_seconds  how long messages are kept after the broker confirmed them, for `freehold outbox
                              resend`; 0 keeps none. Not above dedup_window_seconds of this service and of the services
                              that receive them.
    dead_letter_retention_seconds  how long replayed and discarded dead letters are kept.
    finished_retention_seconds  how long replays that have ended, and results of comparisons, are kept.
    deferred_alarm_seconds    how long a message may be deferred before readiness and doctor report it.
    overdue_alarm_seconds     how long work may be overdue before doctor reports it: scheduled messages, timers of
                              sagas, attempts of deferred messages, comparisons, pruning; and how far a projection may
                              be behind. For the first three readiness has a notice.
    token_secret              the secret that signs consistency tokens and the requests between services: the same for
                              all services. Of several, separated by commas, the first signs and all are accepted.
    peers                     URLs of the APIs of other services, by name: the table `[peers]` of the file, for all
                              services, and `FREEHOLD_PEERS_<SERVICE>` of the environment.
    migrate_on_start          apply missing migrations at start; otherwise they are an error.
    log_tracebacks            whether failures of handlers, sagas and projections are logged with a traceback, without
                              values; a repeated failure is one line.
    metrics                   whether this process counts and measures for `/metrics`.
    ready_without_broker      whether the service is ready while its broker cannot be reached.

    Raises `ConfigurationError` for a value of another type or outside of its range.
    """

    service: str = words()
    database: str = words(shown=False)
    broker: str = words(shown=False)
    database_options: DatabaseOptions = field(default_factory=DatabaseOptions)
    broker_options: BrokerOptions = field(default_factory=BrokerOptions)
    workers: int = bounded(4, 1, 1024)
    batch_limit: int = bounded(64, 1, 10_000)
    handler_timeout_seconds: float = seconds(30.0)
    crash_attempts_max: int = bounded(5, 1, 10_000)
    lease_seconds: float = seconds(6.0)
    poll_seconds: float = seconds(1.0)
    hints: str = words("auto")
    drain_seconds: float = seconds(10.0, least=0.0)
    dedup_window_seconds: float = seconds(8 * _DAY_SECONDS, least=0.0)
    dead_letter_replay_window_seconds: float = seconds(7 * _DAY_SECONDS, least=0.0)
    outbox_sent_retention_seconds: float = seconds(0.0, least=0.0)
    dead_letter_retention_seconds: float = seconds(30 * _DAY_SECONDS, least=0.0)
    finished_retention_seconds: float = seconds(30 * _DAY_SECONDS, least=0.0)
    saga_retention_seconds: float = seconds(30 * _DAY_SECONDS, least=0.0)
    idempotency_retention_seconds: float = seconds(_DAY_SECONDS, least=0.0)
    prune_interval_seconds: float = seconds(60.0)
    deferred_alarm_seconds: float = seconds(3600.0)
    overdue_alarm_seconds: float = seconds(300.0)
    migrate_on_start: bool = True
    log_tracebacks: bool = True
    ready_without_broker: bool = False
    metrics: bool = True
    token_secret: str = words("", empty=True, shown=False)
    peers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every field. Raises `ConfigurationError`."""
        place = f"service '{self.service}'"
        for name, options in _OPTIONS.items():
            object.__setattr__(self, name, options_of(options, getattr(self, name), f"{name} of {place}"))
        check(self, place)
        if self.hints not in _HINTS:
            raise ConfigurationError(f"hints of {place} is unknown", hint=f"one of {', '.join(sorted(_HINTS))}")
        for name, url in self.peers.items():
            _check_peer(name, url, place)

    @classmethod
    def load(
        cls, service: str, *, environ: Mapping[str, str] | None = None, file: Path | None = None, **overrides: Any
    ) -> Self:
        """Read the settings of one service; `overrides` win over everything, option by option.

        `file` is by default the file that `FREEHOLD_SETTINGS` names, or `freehold.toml` in the working directory; only
        the latter need not exist. Raises `ConfigurationError`.
        """
        environ = os.environ if environ is None else environ
        path = settings_file(environ, file)
        document = _document(path)
        place = f"service '{service}'"
        found = _merge(_from_file(document, path, service), _from_environment(environ, service))
        found = _merge(found, _given(overrides, place))
        for name, options in _OPTIONS.items():
            found[name] = options_of(options, found.get(name, {}), f"{name} of {place}")
        values = convert(cls, found, place, known=_fields())
        values.setdefault("database", default_database(service))
        values.setdefault("broker", f"embedded:///./{DEFAULT_DIRECTORY}/broker.db")
        values.setdefault("peers", _peers(environ, document, path))
        return cls(**{**values, "service": service})


def default_database(service: str) -> str:
    """The URL of a service's database if no setting names one: a local SQLite file."""
    return f"sqlite:///./{DEFAULT_DIRECTORY}/{service}.db"


def settings_file(environ: Mapping[str, str] | None = None, file: Path | None = None) -> Path:
    """The file that settings are read from. Raises `ConfigurationError` if a named file does not exist; the default
    file need not exist.
    """
    environ = os.environ if environ is None else environ
    named = environ.get(_NAMES_FILE)
    if file is None and named is None:
        return Path(SETTINGS_FILE)
    if file is None and not str(named).strip():
        raise _is_empty(_NAMES_FILE)
    path = Path(str(named)) if file is None else file
    if not path.exists():
        source = f"{_NAMES_FILE} names" if file is None else "the settings are read from"
        raise ConfigurationError(
            f"{source} the file {path}, which does not exist",
            hint=f"looked for {path.absolute()}; create it, or unset it",
        )
    return path


def project_modules(*, environ: Mapping[str, str] | None = None, file: Path | None = None) -> list[str]:
    """Return the modules that declare the project's services: `[project] modules = ["shop.orders"]` in the file.

    Raises `ConfigurationError`.
    """
    path = settings_file(environ, file)
    modules = _table(_document(path).get("project", {}), f"{path}: project").get("modules", [])
    if not isinstance(modules, list) or not all(isinstance(each, str) for each in modules):
        raise ConfigurationError(f"{path}: project.modules must be a list of module names")
    return modules


def configured_services(*, environ: Mapping[str, str] | None = None, file: Path | None = None) -> set[str]:
    """Return the services with settings of their own: `[services.<name>]` in the file, or `FREEHOLD_<NAME>_DATABASE` in
    the environment. Raises `ConfigurationError`.
    """
    environ = os.environ if environ is None else environ
    path = settings_file(environ, file)
    named = {key.removeprefix("FREEHOLD_").removesuffix("_DATABASE") for key in environ if _NAMES_DATABASE(key)}
    found = {name.lower().replace("_", "-") for name in named}
    return found | set(_table(_document(path).get("services", {}), f"{path}: services"))


def variables_of(service: str) -> list[str]:
    """Every variable of the environment that is read for one service only."""
    prefix = f"FREEHOLD_{service.upper().replace('-', '_')}_"
    names = [name for name in _fields() if name not in _APART | _OPTIONS.keys()]
    names += [f"{table}_{each.name}" for table, options in _OPTIONS.items() for each in dataclasses.fields(options)]
    return [prefix + name.upper() for name in names]


def _fields() -> list[str]:
    return [each.name for each in dataclasses.fields(Settings) if each.name != "service"]


def _given(overrides: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Keyword arguments as a source of settings. An instance of an options class replaces all its options."""
    known = _fields()
    for name in overrides:
        if name not in known:
            error = _unknown(place, name, known)
            for table, options in _OPTIONS.items():
                if name in {each.name for each in dataclasses.fields(options)}:
                    error.hint = f"it belongs to {table}: {table}={{'{name}': …}}; {error.hint}"
            raise error
    return dict(overrides)


def _unknown(place: str, name: str, known: Iterable[str]) -> ConfigurationError:
    if name in _FORMER:
        return _is_renamed(place, name, _FORMER[name])
    return unknown_name(f"{place}: unknown setting", name, known)


def _is_renamed(place: str, former: str, name: str) -> ConfigurationError:
    return ConfigurationError(f"{place}: the setting '{former}' has another name now: '{name}'", hint="rename it")


def _peers(environ: Mapping[str, str], document: Mapping[str, Any], path: Path) -> dict[str, str]:
    """URLs of other services' APIs: `[peers]` of the file, and `FREEHOLD_PEERS_<SERVICE>`, which wins."""
    found = dict(_table(document.get("peers", {}), f"{path}: peers"))
    for name, url in found.items():
        _check_peer(name, url, str(path))
    for key, url in environ.items():
        if key.startswith(_PEERS):
            if not url.strip():
                raise _is_empty(key)
            found[key.removeprefix(_PEERS).lower().replace("_", "-")] = url
    return found


def _check_peer(name: object, url: object, place: str) -> None:
    if not isinstance(url, str) or not url.strip():
        raise ConfigurationError(f"{place}: peers.{name} must be a URL")


def _is_empty(variable: str) -> ConfigurationError:
    return ConfigurationError(f"{variable} is empty", hint="give it a value, or unset it")


def _document(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}", hint="is it valid TOML?") from error
    for name in document:
        if name not in _TOP_LEVEL:
            raise unknown_name(f"{path}: unknown key", name, _TOP_LEVEL)
    return document


def _from_file(document: Mapping[str, Any], path: Path, service: str) -> dict[str, Any]:
    services = _table(document.get("services", {}), f"{path}: services")
    found: dict[str, Any] = {"broker": document["broker"]} if "broker" in document else {}
    for place, table in (
        ("defaults", document.get("defaults", {})),
        (f"services.{service}", services.get(service, {})),
    ):
        values = _table(table, f"{path}: {place}")
        for name in values:
            if name in _APART or name not in _fields():
                raise _unknown(f"{path}: {place}", name, set(_fields()) - _APART)
        found = _merge(found, values)
    return found


def _from_environment(environ: Mapping[str, str], service: str) -> dict[str, Any]:
    """Read the known names only: `FREEHOLD_ORDERS_ARCHIVE_…` may belong to another service."""
    prefix = f"FREEHOLD_{service.upper().replace('-', '_')}_"
    for former, name in _FORMER.items():
        if f"{prefix}{former.upper()}" in environ:
            raise _is_renamed("the environment", f"{prefix}{former.upper()}", f"{prefix}{name.upper()}")
    found: dict[str, Any] = {}
    shared = {"FREEHOLD_BROKER": "broker", "FREEHOLD_BROKER_PREFIX": "broker_options_prefix"}
    own = {variable: variable.removeprefix(prefix).lower() for variable in variables_of(service)}
    for variable, name in {**shared, **own}.items():
        value = environ.get(variable)
        if value is None:
            continue
        if not value.strip():
            # Empty where it was set from another variable that is missing: that must not mean the default.
            raise _is_empty(variable)
        table = next((each for each in _OPTIONS if name.startswith(f"{each}_")), None)
        if table is None:
            found[name] = value
        else:
            found.setdefault(table, {})[name.removeprefix(f"{table}_")] = value
    return found


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _table(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{place} must be a table")
    return value

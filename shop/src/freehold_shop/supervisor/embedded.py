"""The embedded infrastructure: a SQLite file for each service, and the embedded broker's file.

An outage is a process that holds the file's write lock, so that nothing can be written. For a full or read-only file
the processes that use it apply limits on request; this module only uses its free pages. Imports locks and ballast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from freehold import ConfigurationError
from freehold_shop.faults.fault import Trouble
from freehold_shop.supervisor.ballast import drop_ballast, take_ballast
from freehold_shop.supervisor.filelock import FileLock

__all__ = ["EmbeddedInfrastructure"]

_BROKER = "broker"
_HOLD_SECONDS = 8.0
"""How long a repeated lock is held at a time: longer than a service waits for one."""


@dataclass(slots=True)
class EmbeddedInfrastructure:
    """Files below the state directory. `_locks` has the locks held, by file and by how long at a time."""

    directory: Path
    databases: Mapping[str, str] = field(default_factory=dict)
    _locks: dict[tuple[Path, float | None], FileLock] = field(default_factory=dict)
    _full: set[Path] = field(default_factory=set)
    _loaded: set[Path] = field(default_factory=set)

    def prepare(self, services: Sequence[str]) -> None:
        """Make the directory, and remove the ballast of a killed shop. The first process that opens a file makes it."""
        (self.directory / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.databases = {service: f"sqlite:///{self._file(service)}" for service in services}
        for name in (*services, _BROKER):
            drop_ballast(self._file(name))

    @property
    def broker(self) -> str:
        """The URL of the broker's file."""
        return f"embedded:///{quote(str(self._file(_BROKER)))}"

    @property
    def brokers(self) -> Mapping[str, str]:
        """Empty: there are no credentials, and a process that may open the file may do everything."""
        return {}

    def pids(self) -> Mapping[str, int]:
        """Empty: there are no servers."""
        return {}

    def revive(self) -> None:
        """Nothing to do: there are no servers."""

    def begin_broker_outage(self) -> None:
        """Lock the broker's file."""
        self._lock(self._file(_BROKER))

    def end_broker_outage(self) -> None:
        """Unlock the broker's file."""
        self._unlock(self._file(_BROKER))

    def empty_broker(self) -> None:
        """Delete the broker's file and its WAL while processes have them open.

        A lock of the file is taken on the new file, as soon as there is one.
        """
        file = self._file(_BROKER)
        locked = (file, None) in self._locks
        self._unlock(file)
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        self._loaded.discard(file)
        if locked:
            self._lock(file, at_once=False)

    def begin_broker_limit(self) -> None:
        """Use the free pages of the broker's file."""
        self._fill(self._file(_BROKER))

    def end_broker_limit(self) -> None:
        """Free these pages."""
        self._empty(self._file(_BROKER))

    def begin_database_trouble(self, service: str, trouble: Trouble) -> None:
        """Lock the file, or use its free pages."""
        match trouble:
            case Trouble.DOWN:
                self._lock(self._file(service))
            case Trouble.LOCKED:
                self._lock(self._file(service), _HOLD_SECONDS)
            case Trouble.FULL:
                self._fill(self._file(service))
            case Trouble.READ_ONLY:
                self._check(service)
            case Trouble.FROZEN:
                raise _no_server(service)

    def end_database_trouble(self, service: str, trouble: Trouble) -> None:
        """Unlock the file, or free the pages."""
        match trouble:
            case Trouble.DOWN:
                self._unlock(self._file(service))
            case Trouble.LOCKED:
                self._unlock(self._file(service), _HOLD_SECONDS)
            case Trouble.FULL:
                self._empty(self._file(service))
            case Trouble.READ_ONLY | Trouble.FROZEN:
                pass

    def crash_database(self, service: str) -> None:
        """There is no server."""
        raise _no_server(service)

    def end_sessions(self, service: str) -> None:
        """There is no server."""
        raise _no_server(service)

    def stop(self) -> None:
        """End every trouble."""
        for path, hold_seconds in list(self._locks):
            self._unlock(path, hold_seconds)
        for file in list(self._loaded):
            self._empty(file)

    def _file(self, name: str) -> Path:
        return self.directory.absolute() / "data" / f"{name}.db"

    def _check(self, service: str) -> None:
        if service not in self.databases:
            raise ConfigurationError(f"{service} has no database", hint="choose a service that owns one")

    def _lock(self, path: Path, hold_seconds: float | None = None, *, at_once: bool = True) -> None:
        if (path, hold_seconds) not in self._locks:
            log = self.directory / "logs" / "outage.log"
            self._locks[path, hold_seconds] = FileLock(
                path, log, hold_seconds, at_once=at_once and not self._is_held(path)
            )

    def _unlock(self, path: Path, hold_seconds: float | None = None) -> None:
        lock = self._locks.pop((path, hold_seconds), None)
        if lock is not None:
            lock.release()
        self._drop_unused_ballast(path)

    def _fill(self, file: Path) -> None:
        """Use the file's free pages, unless it is locked: then nothing can be written anyway."""
        if not self._is_held(file):
            take_ballast(file)
        self._full.add(file)
        self._loaded.add(file)

    def _empty(self, file: Path) -> None:
        self._full.discard(file)
        self._drop_unused_ballast(file)

    def _drop_unused_ballast(self, file: Path) -> None:
        """Free the pages where the file is not full on purpose any more; where it is locked, when the lock ends."""
        if file in self._loaded - self._full and not self._is_held(file) and drop_ballast(file):
            self._loaded.discard(file)

    def _is_held(self, file: Path) -> bool:
        return any(path == file for path, _ in self._locks)


def _no_server(service: str) -> ConfigurationError:
    return ConfigurationError(
        f"the database of {service} is a file, and has no server", hint="a shop with --profile servers has one"
    )

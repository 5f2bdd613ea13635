"""The embedded broker: a durable log in one SQLite file, shared by the processes of one machine. Nothing to install.

Adapter: imports the broker port, the groups pattern and the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from freehold.adapters.embedded.broker import EmbeddedBroker
from freehold.adapters.embedded.connection import FileOptions
from freehold.broker import BrokerOptions
from freehold.clock import Clock, SystemClock
from freehold.errors import ConfigurationError

__all__ = ["EmbeddedAdapter", "adapter"]

_HINT: Final = (
    "embedded:///relative/broker.db or embedded:////absolute/broker.db, "
    "optionally with ?synchronous=full|normal and &keep=MESSAGES"
)


class EmbeddedAdapter:
    """Makes embedded brokers from URLs, which have slashes as in SQLAlchemy's SQLite URLs."""

    broker_schemes: Sequence[str] = ("embedded",)

    def broker(self, url: str, options: BrokerOptions, clock: Clock | None = None) -> EmbeddedBroker:
        """Make the broker without opening the file. Raises `ConfigurationError`."""
        parts = urlsplit(url)
        path = unquote(parts.path)[1:]
        if parts.netloc or not path:
            raise ConfigurationError("the embedded broker's URL names no file", hint=_HINT)
        return EmbeddedBroker(self._file(path, dict(parse_qsl(parts.query))), options, clock or SystemClock())

    @staticmethod
    def _file(path: str, query: dict[str, str]) -> FileOptions:
        synchronous = query.pop("synchronous", "full")
        keep = query.pop("keep", "200000")
        if query or synchronous not in {"full", "normal"} or not keep.isdecimal():
            raise ConfigurationError("the embedded broker's URL has an unknown parameter or value", hint=_HINT)
        return FileOptions(path=Path(path).absolute(), power_safe=synchronous == "full", keep_messages=int(keep))


adapter = EmbeddedAdapter()

"""A connection to MariaDB that is reset while it is made: an outage, whatever the event loop calls it."""

from __future__ import annotations

from typing import Any

import asyncmy
import pytest

from freehold.errors import Unavailable
from freehold.runtime.adapters import open_stores


async def test_an_error_of_uvloop_for_a_closed_socket_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*_: Any, **__: Any) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    monkeypatch.setattr(asyncmy, "connect", connect)
    database = open_stores("mariadb://user:password@127.0.0.1:1/orders").database
    with pytest.raises(Unavailable, match="connection to MariaDB was lost"):
        await database.open()
    await database.close()

"""All planted bugs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.faults.planted import events, inbox, outbox, sagas, stores
from tests.faults.planted.bug import Bug

__all__ = ["BUGS"]

BUGS: Final[Mapping[str, Bug]] = {
    bug.name: bug for bug in (*outbox.BUGS, *inbox.BUGS, *sagas.BUGS, *events.BUGS, *stores.BUGS)
}

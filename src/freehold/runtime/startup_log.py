"""What is told when services start: which database and broker each uses, and names that nothing reads. Runtime."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from freehold.redaction import shown_url
from freehold.settings import Settings, default_database
from freehold.variables import unread_names

__all__ = ["is_default", "tell_settings", "told"]

_log = logging.getLogger("freehold.runtime")


def tell_settings(settings: Sequence[Settings]) -> None:
    """Log one line for each service, and a warning for each name that looks misspelt."""
    for each in settings:
        _log.info("%s", told(each))
    for name in unread_names([each.service for each in settings]):
        _log.warning("%s", name.message)


def told(settings: Settings) -> str:
    """Which database and which broker a service uses, without passwords."""
    default = " (the default: no setting names one)" if is_default(settings) else ""
    return f"{settings.service}: database {shown_url(settings.database)}{default}, broker {shown_url(settings.broker)}"


def is_default(settings: Settings) -> bool:
    """Whether the database is the local file that is used where nothing names one."""
    return settings.database == default_database(settings.service)

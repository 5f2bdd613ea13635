"""Log lines at the start of services: the event loop, the database and broker of each, and settings that nothing reads.
Runtime.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence

from freehold.errors import ConfigurationError
from freehold.redaction import shown_url
from freehold.runtime.event_loop import loop_name
from freehold.settings import Settings, configured_services, default_database
from freehold.variables import unread_names

__all__ = ["is_default", "log_settings"]

_log = logging.getLogger("freehold.runtime")


def log_settings(settings: Sequence[Settings]) -> None:
    """Log the event loop, one line for each service, and a warning for each name that looks misspelt. Call it in the
    event loop that runs them.
    """
    _log.info("event loop: %s", loop_name(asyncio.get_running_loop()))
    known = {each.service for each in settings}
    for each in settings:
        _log.info("%s", _described(each))
        if is_default(each) and (others := _others_configured(known)):
            _log.warning(
                "%s: no setting names its database, so it uses the local file; there are settings for %s",
                each.service,
                ", ".join(others),
            )
    for name in unread_names([each.service for each in settings]):
        _log.warning("%s", name.message)


def _described(settings: Settings) -> str:
    """The database and the broker of a service, without passwords."""
    default = " (the default: no setting names one)" if is_default(settings) else ""
    return f"{settings.service}: database {shown_url(settings.database)}{default}, broker {shown_url(settings.broker)}"


def _others_configured(known: Collection[str]) -> list[str]:
    """Services with settings that are not known here: one of them may be meant."""
    try:
        return sorted(configured_services() - set(known))
    except ConfigurationError:
        return []  # the settings came from another source


def is_default(settings: Settings) -> bool:
    """Whether the database is the local file that is used if no setting names one."""
    return settings.database == default_database(settings.service)

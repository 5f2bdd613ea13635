"""What is told when services start: which database and broker each uses, and names that nothing reads. Runtime."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from freehold.errors import ConfigurationError
from freehold.redaction import shown_url
from freehold.settings import Settings, configured_services, default_database
from freehold.variables import unread_names

__all__ = ["is_default", "others_configured", "tell_settings", "told"]

_log = logging.getLogger("freehold.runtime")


def tell_settings(settings: Sequence[Settings]) -> None:
    """Log one line for each service, and a warning for each name that looks misspelt."""
    known = {each.service for each in settings}
    for each in settings:
        _log.info("%s", told(each))
        if is_default(each) and (others := others_configured(known)):
            _log.warning(
                "%s: no setting names its database, so it is the local file; settings are there for %s",
                each.service,
                ", ".join(others),
            )
    for name in unread_names([each.service for each in settings]):
        _log.warning("%s", name.message)


def told(settings: Settings) -> str:
    """Which database and which broker a service uses, without passwords."""
    default = " (the default: no setting names one)" if is_default(settings) else ""
    return f"{settings.service}: database {shown_url(settings.database)}{default}, broker {shown_url(settings.broker)}"


def others_configured(known: Collection[str]) -> list[str]:
    """Services that are not known here and have a place of their own in the settings: one of them may be meant."""
    try:
        return sorted(configured_services() - set(known))
    except ConfigurationError:
        return []  # the settings came from elsewhere


def is_default(settings: Settings) -> bool:
    """Whether the database is the local file that is used where nothing names one."""
    return settings.database == default_database(settings.service)

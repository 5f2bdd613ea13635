"""URLs as they may be shown: without passwords and other secrets. Foundation: standard library only."""

from __future__ import annotations

from typing import Final

__all__ = ["shown_url"]

_SHOWN_PARAMETERS: Final = frozenset(
    {"application_name", "host", "keep", "port", "schema", "sslmode", "statement_cache_size", "synchronous"}
)
_FILES: Final = ("embedded", "memory", "sqlite")
_NAMES_A_ROLE: Final = "postgres"


def shown_url(url: str) -> str:
    """A URL for logs, without its password and without the values of parameters that are not known to be harmless.

    A password may contain any character: if it cannot be separated from the rest for certain, more is hidden. The whole
    part before the host is hidden if it need not be a user's name (for NATS it may be a token).
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
        return "***"
    credentials, at, place = ("", "", rest) if scheme.startswith(_FILES) else rest.rpartition("@")
    place, question, query = place.partition("?")
    before = f"{_shown_credentials(scheme, credentials)}@" if at else ""
    parameters = "&".join(map(_shown_parameter, query.split("&"))) if question else ""
    return f"{scheme}://{before}{place}{question}{parameters}"


def _shown_credentials(scheme: str, text: str) -> str:
    name, colon, _ = text.partition(":")
    if not scheme.startswith(_NAMES_A_ROLE) or not set(name).isdisjoint("/?#=&"):
        return "***"
    return f"{name}:***" if colon else name


def _shown_parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    return text if name in _SHOWN_PARAMETERS or not equals else f"{name}=***"

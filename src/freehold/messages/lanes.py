"""Lanes: the position of a published message in its service's outbox, as it is sent. Foundation: imports the standard
library only.

A **lane** is one partition of what a service publishes: `orders/3`. The relay stamps a message when it publishes it, by
adding attributes to the encoded document. So the code that stages messages needs no knowledge of lanes.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LANE", "POSITION_DIGITS_MAX", "WATERMARK_VERSION", "lane_name", "stamped", "watermark_type"]

LANE: Final = re.compile(r"[a-z][a-z0-9-]{0,199}/[0-9]{1,5}")
"""Pattern of a lane's name."""

POSITION_DIGITS_MAX: Final = 18
"""A position has at most so many ASCII digits: it is within 64 bits."""

WATERMARK_VERSION: Final = 0
"""The version of messages that carry only a watermark. No declared message can have it."""


def lane_name(service: str, partition: int) -> str:
    """Return the name of a service's lane."""
    return f"{service}/{partition}"


def watermark_type(service: str) -> str:
    """Return the type of a service's messages that carry only a watermark."""
    return f"{service}.watermark"


def stamped(document: bytes, lane: str, watermark: int, position: int | None = None) -> bytes:
    """Return the document with lane, watermark and position, which override earlier ones. A document that is not a JSON
    object is returned unchanged.
    """
    if not document.endswith(b"}") or len(document) <= 2:
        return document
    sequence = "" if position is None else f'"sequence":"{position}",'
    return document[:-1] + f',"lane":"{lane}",{sequence}"watermark":"{watermark}"}}'.encode()

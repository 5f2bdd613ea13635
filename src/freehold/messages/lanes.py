"""Lanes: where a published message stands in its service's outbox, in the words of the wire. Foundation: stdlib only.

A **lane** is one partition of what a service publishes, `orders/3`. The relay stamps a message when it is published, by
splicing attributes into the encoded document: whoever staged it, and in which version, need not know of lanes.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LANE", "POSITION", "WATERMARK_VERSION", "lane_name", "stamped", "watermark_type"]

LANE: Final = re.compile(r"[a-z][a-z0-9-]{0,199}/[0-9]{1,5}")
"""What the name of a lane looks like."""

POSITION: Final = re.compile(r"[0-9]{1,18}")
"""What a position looks like: ASCII digits, within 64 bits."""

WATERMARK_VERSION: Final = 0
"""The version of messages that carry a watermark and nothing else: no declared message can have it."""


def lane_name(service: str, partition: int) -> str:
    """The lane of what a service publishes in a partition."""
    return f"{service}/{partition}"


def watermark_type(service: str) -> str:
    """The type of messages that say how far a lane is on the broker, and nothing else."""
    return f"{service}.watermark"


def stamped(document: bytes, lane: str, watermark: int, position: int | None = None) -> bytes:
    """Return the document with its place, which wins over one that it had; as it is where it is no JSON object."""
    if not document.endswith(b"}") or len(document) <= 2:
        return document
    sequence = "" if position is None else f'"sequence":"{position}",'
    return document[:-1] + f',"lane":"{lane}",{sequence}"watermark":"{watermark}"}}'.encode()

"""The dead letter of a message that the broker rejects for good. Pattern: imports the foundation, the ports, the store
of dead letters and its own package.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from freehold.crash_points import crash_point
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterStatus, Direction
from freehold.errors import CodecError
from freehold.ids import new_id
from freehold.messages import decode_envelope
from freehold.outbox.store import OUTBOX, StagedMessage
from freehold.ports import Stores

__all__ = ["dead_letter"]

_REASON_CHARACTERS_MAX: Final = 500


async def dead_letter(
    stores: Stores, leases: Mapping[int, int], message: StagedMessage, reason: str, failed_at: datetime
) -> bool:
    """Move a row from the outbox to the dead letters, in one transaction. Its position becomes a pending watermark.
    False: the lease's token is stale, or the row does not exist any more.
    """
    async with stores.database.begin() as db_tx:
        if not await stores[OUTBOX].take(db_tx, leases, message):
            return False
        await stores[DEAD_LETTERS].add(db_tx, _letter(message, reason, failed_at))
        crash_point("outbox.before-dead-letter-commit")
    crash_point("outbox.dead-lettered")
    return True


def _letter(message: StagedMessage, reason: str, failed_at: datetime) -> DeadLetter:
    outgoing = message.message
    return DeadLetter(
        id=new_id(),
        direction=Direction.OUTBOUND,
        consumer="",
        topic=outgoing.topic,
        key=outgoing.key,
        message_id=outgoing.id,
        type=_type_of(outgoing.document),
        reason="rejected-by-broker",
        error_type="MessageRejected",
        detail=reason[:_REASON_CHARACTERS_MAX],
        attempts=message.attempts + 1,
        failed_at=failed_at,
        status=DeadLetterStatus.DEAD,
        document=outgoing.document,
    )


def _type_of(document: bytes) -> str:
    try:
        return decode_envelope(document).type
    except CodecError:
        return ""

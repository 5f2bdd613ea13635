"""What a handler answers to a request, and the headers in which it travels. Pattern: imports the foundation only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from freehold.errors import FreeholdError

__all__ = [
    "HEADER_ATTEMPT",
    "HEADER_DIRECTION",
    "HEADER_OUTCOME",
    "HEADER_PREFIX",
    "HEADER_SAGA",
    "HEADER_STEP",
    "OUTCOME_CANCELLED",
    "OUTCOME_DONE",
    "OUTCOME_NO_EFFECT",
    "OUTCOME_REJECTED",
    "REPLY_TYPE",
    "REPLY_VERSION",
    "Rejected",
    "outcome_of",
]

HEADER_PREFIX: Final = "freehold-"
"""Headers of a request that begin with this come back with its reply."""
HEADER_SAGA: Final = "freehold-saga"
HEADER_STEP: Final = "freehold-step"
HEADER_ATTEMPT: Final = "freehold-attempt"
HEADER_DIRECTION: Final = "freehold-direction"
HEADER_OUTCOME: Final = "freehold-outcome"

OUTCOME_DONE: Final = "done"
"""The handler's effect is committed."""
OUTCOME_REJECTED: Final = "rejected"
"""The handler refused for a business reason; the body tells `code` and `detail`."""
OUTCOME_CANCELLED: Final = "cancelled"
"""The compensation of this request came first; nothing was done, and nothing will be."""
OUTCOME_NO_EFFECT: Final = "no-effect"
"""A compensation found that its action was never handled: it changed nothing, and cancelled the action for good."""
_FORMER: Final = {"barred": OUTCOME_CANCELLED, "empty": OUTCOME_NO_EFFECT}
"""Outcomes as they were called before the first release; replies of then may still be on their way."""

REPLY_TYPE: Final = "freehold.reply"
"""The type of a reply whose handler returned no declared message."""
REPLY_VERSION: Final = 1


def outcome_of(headers: Mapping[str, str]) -> str:
    """The outcome that a reply tells. Raises `KeyError` where it tells none."""
    outcome = headers[HEADER_OUTCOME]
    return _FORMER.get(outcome, outcome)


class Rejected(FreeholdError):
    """A refusal for a business reason (out of stock, card declined): an answer, not a failure, and never retried.

    Returned by a handler, its effects are kept and the refusal is answered. Raised, they are rolled back, and the
    receipt and the answer are committed on their own. `code` is a stable word for programs, `detail` is for people;
    both travel in the reply, so neither holds personal data.
    """

    __slots__ = ("_code", "_detail")

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self._code = code
        self._detail = detail

    @property
    def code(self) -> str:
        """A stable word for programs: `out-of-stock`."""
        return self._code

    @property
    def detail(self) -> str:
        """A sentence for people."""
        return self._detail

    def __eq__(self, other: object) -> bool:
        """Two refusals are equal when their code and detail are."""
        return isinstance(other, Rejected) and (self.code, self.detail) == (other.code, other.detail)

    def __hash__(self) -> int:
        """As equality."""
        return hash((self._code, self._detail))

    def __reduce__(self) -> tuple[type[Rejected], tuple[str, str]]:
        """Copy and pickle by the two texts."""
        return (Rejected, (self._code, self._detail))

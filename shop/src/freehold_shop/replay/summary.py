"""The results of a replay: the counts while it runs, and the summary at its end.

Imports the latencies and the verification's model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from freehold_shop.replay.latencies import Latencies
from freehold_shop.verify.model import Verification

__all__ = ["LatencySeconds", "Summary", "Tally"]


@dataclass(slots=True)
class Tally:
    """The counts. A confirmed order stays counted as confirmed when goods of it are returned."""

    orders_placed: int = 0
    confirmed: int = 0
    cancelled: Counter[str] = field(default_factory=Counter)
    returns_requested: int = 0
    returned: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def ended(self) -> int:
        """Orders that have ended."""
        return self.confirmed + self.cancelled.total()

    @property
    def in_flight(self) -> int:
        """Orders and returns that have not ended."""
        return self.orders_placed - self.ended + self.returns_requested - self.returned


@dataclass(frozen=True, slots=True)
class LatencySeconds:
    """The percentiles of the time from the submission of an order to its end; None where no order ended."""

    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, latencies: Latencies) -> LatencySeconds:
        """The percentiles, rounded to milliseconds."""
        return cls(*(_rounded(latencies.percentile(percent)) for percent in (50.0, 95.0, 99.0)))


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of a replay; as JSON, the document that `--json` prints.

    files         the number of files.
    rows_read     data rows; each is in an order or a return, or counted in `rows_rejected` by its reason.
    confirmed     orders, also those of which goods were returned later. With `cancelled` and the orders in flight
                  they are `orders_placed`.
    returned      returns from the files that were matched, refunded and restocked.
    in_flight     orders and returns that have not ended.
    """

    files: int
    rows_read: int
    rows_rejected: Mapping[str, int]
    orders_placed: int
    confirmed: int
    cancelled: Mapping[str, int]
    returned: int
    in_flight: int
    duration_seconds: float
    orders_per_second: float
    latency_seconds: LatencySeconds
    verify: Verification

    @property
    def ok(self) -> bool:
        """Whether everything has ended and the verification holds."""
        return self.in_flight == 0 and self.verify.ok

    @classmethod
    def of(
        cls,
        tally: Tally,
        *,
        files: int,
        rows_read: int,
        rows_rejected: Mapping[str, int],
        duration_seconds: float,
        verify: Verification,
    ) -> Summary:
        """Make the summary of a tally."""
        return cls(
            files=files,
            rows_read=rows_read,
            rows_rejected=dict(sorted(rows_rejected.items())),
            orders_placed=tally.orders_placed,
            confirmed=tally.confirmed,
            cancelled=dict(sorted(tally.cancelled.items())),
            returned=tally.returned,
            in_flight=tally.in_flight,
            duration_seconds=round(duration_seconds, 3),
            orders_per_second=round(tally.ended / duration_seconds, 1) if duration_seconds > 0 else 0.0,
            latency_seconds=LatencySeconds.of(tally.latencies),
            verify=verify,
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)

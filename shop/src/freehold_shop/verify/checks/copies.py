"""Replicas: each has the same data as its source. Imports scratch and model."""

from __future__ import annotations

from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["COPY_CHECKS"]


def customer_copies_agree(scratch: Scratch) -> Check:
    """Each service's replica of the customers is right. The result names ids only, since the rest is personal data."""
    return _copies(scratch, "customer-copies-agree", "customer")


def country_copies_agree(scratch: Scratch) -> Check:
    """Each service's replica of the countries is right."""
    return _copies(scratch, "country-copies-agree", "country")


def _copies(scratch: Scratch, name: str, kind: str) -> Check:
    copied = scratch.value("SELECT count(DISTINCT service) FROM copied_fact WHERE kind = ?", (kind,))
    return scratch.check(
        name,
        f"each {kind} is the same in {copied} services as at its source",
        """WITH keeper AS (SELECT DISTINCT service FROM copied_fact WHERE kind = :kind)
            SELECT source_fact.id, keeper.service || CASE WHEN copied_fact.id IS NULL
                THEN ' has no copy' ELSE ' has another version' END
            FROM source_fact JOIN keeper LEFT JOIN copied_fact ON copied_fact.kind = :kind
                AND copied_fact.id = source_fact.id AND copied_fact.service = keeper.service
            WHERE source_fact.kind = :kind AND copied_fact.facts IS NOT source_fact.facts
            AND source_fact.id NOT IN (SELECT key FROM unsettled)
            UNION ALL SELECT copied_fact.id, service || ' has what its source has not' FROM copied_fact
            WHERE kind = :kind AND NOT EXISTS (SELECT 1 FROM source_fact
                WHERE source_fact.kind = :kind AND source_fact.id = copied_fact.id)""",
        {"kind": kind},
    )


COPY_CHECKS = (customer_copies_agree, country_copies_agree)

"""Every call of every store of a service's database, by name, each as often as one likes: what the tests of plans and
of growth run beside many rows. What a call uses up it makes itself.
"""

from tests.conformance.sql.queries import deadletters, events, inbox, outbox, projection, sagas
from tests.conformance.sql.queries.messages import letter, replayable
from tests.conformance.sql.queries.registry import CONSUMER, QUERIES, TOPIC, Query, Seeded

__all__ = [
    "CONSUMER",
    "QUERIES",
    "TOPIC",
    "Query",
    "Seeded",
    "deadletters",
    "events",
    "inbox",
    "letter",
    "outbox",
    "projection",
    "replayable",
    "sagas",
]

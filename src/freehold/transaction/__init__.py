"""The transaction of a service: a database transaction with the events and messages that commit with it.

`transaction` is what handlers use, `staging_area` what patterns use, and `pending_writes` what is not written yet.
`envelopes` makes messages, `transactions` opens transactions, and `ambient` has the context variables of a task.
"""

from freehold.transaction.ambient import current_token, current_trace, token_witness, trace_of
from freehold.transaction.envelopes import EnvelopeFactory, outgoing
from freehold.transaction.staging_area import AfterAppend, StagingArea
from freehold.transaction.transaction import Transaction
from freehold.transaction.transactions import Transactions

__all__ = [
    "AfterAppend",
    "EnvelopeFactory",
    "StagingArea",
    "Transaction",
    "Transactions",
    "current_token",
    "current_trace",
    "outgoing",
    "token_witness",
    "trace_of",
]

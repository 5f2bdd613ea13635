"""The transaction that services work in: the database's, and what is appended, published, sent and scheduled with it.

`transaction` is what handlers hold, `staging_area` what patterns do in it, `pending_writes` what it has not written
yet, `envelopes` how messages are made, `transactions` how they are opened, and `ambient` what goes on around it in the
same task.
"""

from freehold.transaction.ambient import current_token, current_trace_parent, token_witness
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
    "current_trace_parent",
    "outgoing",
    "token_witness",
]

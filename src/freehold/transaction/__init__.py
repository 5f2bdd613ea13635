"""The transaction that services work in: the unit of work plus what is appended, published, sent and scheduled with it.

`unit` is what handlers hold, `staged` what it collects and how that is written, `post` what a service writes with, and
`context` what goes on around it in the same task.
"""

from freehold.transaction.context import current_token, current_trace_parent, token_witness
from freehold.transaction.post import AfterAppend, Post, SagaStarter, outgoing
from freehold.transaction.unit import Transaction

__all__ = [
    "AfterAppend",
    "Post",
    "SagaStarter",
    "Transaction",
    "current_token",
    "current_trace_parent",
    "outgoing",
    "token_witness",
]

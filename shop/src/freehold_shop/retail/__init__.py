"""Real orders from retail files: dirty CSV in, sales, returns and rejected rows out, in constant memory.

Depends on nothing else of the shop.
"""

from freehold_shop.retail.errors import RetailInputError, UnreadableFile, WrongHeader
from freehold_shop.retail.model import (
    ReadCounts,
    Rejected,
    RejectReason,
    ReturnOrder,
    Sale,
    SaleLine,
    SourceRow,
    reject_lines,
)
from freehold_shop.retail.orders import read_orders
from freehold_shop.retail.rejects import RejectsWriter, read_rejects
from freehold_shop.retail.rows import HEADER

__all__ = [
    "HEADER",
    "ReadCounts",
    "RejectReason",
    "Rejected",
    "RejectsWriter",
    "RetailInputError",
    "ReturnOrder",
    "Sale",
    "SaleLine",
    "SourceRow",
    "UnreadableFile",
    "WrongHeader",
    "read_orders",
    "read_rejects",
    "reject_lines",
]

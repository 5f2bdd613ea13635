"""Proves over all databases and the provider's ledger that the shop's data agree. Reads everything, changes nothing.

The data of all services are loaded into a private temporary database and compared there by SQL, so memory is bounded
for any number of orders. `run` is the whole verification, and imports the shop's services; this module exports the
model alone. May import the shop's services and the library; only the faces import it.
"""

from freehold_shop.verify.model import Check, Verification

__all__ = ["Check", "Verification"]

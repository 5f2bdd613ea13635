"""Proves over all databases and the provider's ledger that the shop's data agree. Reads everything, changes nothing.

What each service says is laid side by side in a private temporary database and compared there by SQL, so memory stays
bounded for any number of orders. `run` is the whole of it; it imports the shop's services, so whoever needs the model
alone takes it from here. May import the shop's services and the library; nothing but the faces imports it.
"""

from freehold_shop.verify.model import Check, Verification

__all__ = ["Check", "Verification"]

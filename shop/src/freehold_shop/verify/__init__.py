"""Proves over all databases and the provider's ledger that the shop's data agree. Reads everything, changes nothing.

What each service says is laid side by side in a private temporary database and compared there by SQL, so memory stays
bounded for any number of orders. May import the shop's services and the library; nothing but the faces imports it.
"""

from freehold_shop.verify.model import Check, Verification
from freehold_shop.verify.quiet import Quietness
from freehold_shop.verify.run import Target, Verified, verify

__all__ = ["Check", "Quietness", "Target", "Verification", "Verified", "verify"]

"""The inventory service: stock, reservations that expire, and the ledger of every movement."""

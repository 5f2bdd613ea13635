"""A database behind a SQLAlchemy engine: pool, transactions, enlistment, schema, dialect; no statement of a store.

Its modules import SQLAlchemy, the ports, the foundation, `handles`, `inspection` and each other; no driver. The stores
need two of them, `connection` and `dialect`, which import no SQLAlchemy.
"""

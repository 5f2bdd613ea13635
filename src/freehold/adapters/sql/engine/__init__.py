"""A database behind a SQLAlchemy engine: pool, transactions, enlistment, schema, dialect. It has no store's statements.

Its modules import SQLAlchemy, the ports, the foundation, `handles`, `inspection` and each other; no driver. The stores
import only `connection` and `dialect`, which import no SQLAlchemy.
"""

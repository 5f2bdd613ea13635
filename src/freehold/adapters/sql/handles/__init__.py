"""The objects of a transaction that user code gets. They refuse to end the transaction, and to work after its end.

The modules import SQLAlchemy, the database port, the foundation and each other; no driver, and nothing else of the SQL
base.
"""

"""What a user's code holds of a transaction, and what it may not do with it: end it, or use it after its end.

Its modules import SQLAlchemy, the database port, the foundation and each other; no driver, and nothing else of the SQL
base.
"""

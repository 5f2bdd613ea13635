"""Compares a database with what its migrations made, and makes good what can be.

Its modules import the database port, the foundation and each other; neither SQLAlchemy nor anything else of the SQL
base. What they need of the database, and of the record of applied steps, `inspector` says as protocols.
"""

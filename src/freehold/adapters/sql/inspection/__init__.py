"""Compares a database with what its migrations made, and repairs what can be repaired.

The modules import the database port, the foundation and each other; neither SQLAlchemy nor anything else of the SQL
base. The protocols in `inspector` say what they need of the database and of the record of applied steps.
"""

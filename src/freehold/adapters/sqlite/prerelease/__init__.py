"""From a database of before the first release on SQLite to its tables, in order of name. Package data, no code.

Nothing is added here: what later releases change of the tables stands in `schema/changes`.
"""

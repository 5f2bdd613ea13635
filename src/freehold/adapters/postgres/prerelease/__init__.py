"""The steps from a database of before the first release on PostgreSQL to the tables of that release, in order of name.
Package data, no code.

No steps are added here: changes of later releases are in `schema/changes`.
"""

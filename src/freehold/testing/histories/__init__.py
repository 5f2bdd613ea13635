"""Histories of clients, and checkers for them. Testing: imports the standard library only.

`recorder` writes what clients invoke and get into a file, also from processes that are killed; `operation` reads it;
`checks` has the checkers for sets, lists and accounts, and `linearizability` the one for registers.
"""

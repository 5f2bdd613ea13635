"""Failures on purpose, of a shop that runs: each knows how it begins, how it ends, and how to say what it does.

May import Freehold, the providers' wire and the supervisor's names; the services import nothing from here.
"""

"""Faults that can be injected into a running shop: each has a begin, an end and a description.

May import Freehold, the providers' wire and the supervisor's names; the services import nothing from here.
"""

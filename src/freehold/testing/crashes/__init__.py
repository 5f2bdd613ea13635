"""Processes that are killed at every point where the library may be killed, one point after the other.

Testing: imports the crash points alone. `passage` names what is killed at; `scenario` is what a user writes; `life`
runs it in a forked process; `exploration` records the passages of a scenario, and kills at each of them.
"""

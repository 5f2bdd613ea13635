"""Simulation of services in virtual time: every run is a seed, and the same seed gives the same run, event by event.

Testing: imports the runtime. `loop` schedules tasks of several processes on one virtual clock; `faults` draws what goes
wrong; `network` is between a process and the database or broker in memory; `world` starts, crashes and restarts the
processes; `explorer` runs seeds, and shrinks a failing one.
"""

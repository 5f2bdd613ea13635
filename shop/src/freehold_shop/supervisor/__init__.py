"""Runs the shop: one process for each service, restarted when it dies; a control socket; an API to start and attach.

`client` is for programs that want a running shop, `__main__` is the supervisor itself. May import the shop and the
library; the services import nothing from here.
"""

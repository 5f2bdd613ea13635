"""Runs the shop: a process for each service, restarted when it ends; a control socket; an API to start and attach.

`client` is for programs that use a running shop, `__main__` is the supervisor itself. May import the shop and the
library; the services import nothing from here.
"""

"""Real servers for the shop's servers profile and for tests: PostgreSQL, MariaDB, NATS, PgBouncer and
Prometheus as child processes on loopback.

May import the standard library and `freehold.errors`. Plain and blocking on purpose: servers start before, and stop
after, everything that is asynchronous.
"""

from freehold_shop.servers.mariadb import find_mariadb, start_mariadb
from freehold_shop.servers.nats import find_nats_server, start_nats
from freehold_shop.servers.pgbouncer import find_pgbouncer, start_pgbouncer
from freehold_shop.servers.postgres import SUPERUSER, find_postgres_binaries, start_postgres
from freehold_shop.servers.process import RunningServer, ServerUnavailable, free_port
from freehold_shop.servers.prometheus import find_prometheus, find_promtool, start_prometheus

__all__ = [
    "SUPERUSER",
    "RunningServer",
    "ServerUnavailable",
    "find_mariadb",
    "find_nats_server",
    "find_pgbouncer",
    "find_postgres_binaries",
    "find_prometheus",
    "find_promtool",
    "free_port",
    "start_mariadb",
    "start_nats",
    "start_pgbouncer",
    "start_postgres",
    "start_prometheus",
]

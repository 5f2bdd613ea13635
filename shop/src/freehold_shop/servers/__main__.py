"""`python -m freehold_shop.servers [DIRECTORY]`: run PostgreSQL, MariaDB and NATS until ctrl-c.

May import its siblings.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from freehold_shop.servers import ServerUnavailable, start_mariadb, start_nats, start_postgres

__all__ = ["main"]


def main(directory: Path) -> int:
    """Start the servers, print the environment with their URLs, and wait for a signal to stop them.

    The environment goes to standard output as shell assignments; the rest goes to standard error.
    """
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with ExitStack() as servers:
        try:
            postgres = servers.enter_context(start_postgres(directory / "postgres"))
            mariadb = servers.enter_context(start_mariadb(directory / "mariadb"))
            nats = servers.enter_context(start_nats(directory / "nats"))
        except ServerUnavailable as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        print(f"export FREEHOLD_TEST_POSTGRES={postgres.url}")
        print(f"export FREEHOLD_TEST_MARIADB={mariadb.url}")
        print(f"export FREEHOLD_TEST_NATS={nats.url}", flush=True)
        print("All are running; ctrl-c stops them.", file=sys.stderr)
        # Only after the servers have started: they would inherit the mask, and could not be asked to stop.
        signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
        signal.sigwait(stopping)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".freehold/servers")))

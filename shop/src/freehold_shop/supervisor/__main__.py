"""`python -m freehold_shop.supervisor`: start the infrastructure, load everything, fork a process for each service.

All processes share what is loaded before the fork. Prints the reason in one line where the shop cannot start.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from freehold import ConfigurationError, FreeholdError, Unavailable
from freehold_shop.supervisor.kernel import die_with_parent, hold_lock
from freehold_shop.supervisor.plan import (
    DEFAULT_STATE,
    WRONG_USAGE,
    Checkout,
    Plan,
    Profile,
    parse_engines,
    parse_instances,
)

__all__ = ["main"]

_ORPHANS_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 stopped, 2 wrong usage, 3 a dependency is unavailable."""
    options = _parser().parse_args(arguments)
    if options.parent:
        die_with_parent(options.parent, signal.SIGTERM)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        plan = Plan(
            options.state.absolute(),
            profile=Profile(options.profile),
            checkout=Checkout(options.checkout),
            single_process=options.single_process,
            usual_ports=options.usual_ports,
            instances=parse_instances(options.instances),
            engines=parse_engines(options.engines),
        )
        plan.state_directory.mkdir(parents=True, exist_ok=True)
        lock = hold_lock(plan.state_directory, _ORPHANS_SECONDS)
        if lock is None:
            raise ConfigurationError(
                f"another supervisor holds {plan.state_directory}", hint="stop it, or choose another with --state"
            )
        # Only now: the import takes a second, and an error above need not wait for it.
        from freehold_shop.supervisor.assemble import run_shop

        run_shop(plan)
    except FreeholdError as error:
        sys.stderr.write(f"{error}\n")
        return 3 if isinstance(error, Unavailable) else WRONG_USAGE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m freehold_shop.supervisor", description=__doc__)
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="the directory of all its data")
    parser.add_argument("--profile", choices=[each.value for each in Profile], default=Profile.EMBEDDED.value)
    parser.add_argument("--checkout", choices=[each.value for each in Checkout], default=Checkout.SAGA.value)
    parser.add_argument("--single-process", action="store_true", help="all services in one process")
    parser.add_argument("--usual-ports", action="store_true", help="ports from 8000 on, where they are free")
    parser.add_argument("--instances", action="append", default=[], metavar="SERVICE=N")
    parser.add_argument("--engine", dest="engines", action="append", default=[], metavar="SERVICE=ENGINE")
    parser.add_argument("--parent", type=int, default=0, help="end when this process, our parent, ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())

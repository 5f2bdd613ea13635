"""`python -m tests.faults PART …`: proofs under faults that take longer than the tests. Each part is a module."""

from __future__ import annotations

import sys

from tests.faults import crash_points, seeds
from tests.faults.planted import table

_PARTS = {"crash-points": crash_points.main, "simulate": seeds.main, "planted": table.main}


def main() -> None:
    """Run the part that is named, or all."""
    named, arguments = (sys.argv[1:2], sys.argv[2:]) if sys.argv[1:2] and sys.argv[1] in _PARTS else ((), sys.argv[1:])
    codes = [_PARTS[name](arguments) for name in named or _PARTS]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()

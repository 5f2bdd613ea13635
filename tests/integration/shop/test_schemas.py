"""The shop's catalogue is that of its messages, and no change of them breaks with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from freehold.schema.catalogue import read_catalogue

SHOP = Path(__file__).parents[3] / "shop"
CATALOGUE = SHOP / "schemas" / "events.json"


def test_the_shop_is_compatible_with_its_catalogue() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FREEHOLD_")}
    finished = subprocess.run(
        [sys.executable, "-m", "freehold.cli.main", "--app", "freehold_shop.assembly", "schema", "check", "--json"],
        cwd=SHOP,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, f"{finished.stdout}\n{finished.stderr}"
    document = json.loads(finished.stdout)
    assert document["findings"] == []
    catalogued = read_catalogue(CATALOGUE).services
    assert document["compared"] == sum(len(each.messages) for each in catalogued.values())
    assert {"orders", "inventory", "payments", "users"} <= catalogued.keys()
    # Every service that reads events is in it with the versions that it understands.
    assert catalogued["notifications"].understands["orders"]

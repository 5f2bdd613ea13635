"""A process that records an operation, and is killed in the middle of the next one: `python -m … FILE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from freehold.testing import HistoryRecorder


def main() -> None:
    recorder = HistoryRecorder(Path(sys.argv[1]), "killed")
    with recorder.invoke("add", value=1):
        pass
    with recorder.invoke("add", value=2):
        print("in the middle", flush=True)  # noqa: T201 - tells the test
        time.sleep(600)  # its test kills it


if __name__ == "__main__":
    main()

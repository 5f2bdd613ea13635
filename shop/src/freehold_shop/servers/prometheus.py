"""A real Prometheus on a loopback port. May import the standard library and its siblings."""

from __future__ import annotations

import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from freehold_shop.servers.process import Launch, RunningServer, ServerUnavailable

__all__ = ["find_prometheus", "find_promtool", "start_prometheus"]

_READY_LIMIT_SECONDS = 1.0
_JOB = """\
  - job_name: {job}
    metrics_path: {path}
    static_configs: [{{targets: [{targets}]}}]
"""


def find_prometheus() -> Path:
    """Return the `prometheus` program, on PATH or beside our Python; raises `ServerUnavailable` without one."""
    return _found("prometheus")


def find_promtool() -> Path:
    """Return the `promtool` program, which comes with Prometheus; raises `ServerUnavailable` without one."""
    return _found("promtool")


def start_prometheus(directory: Path, jobs: Mapping[str, list[str]], *, interval_seconds: int = 1) -> RunningServer:
    """Start Prometheus with its data in `directory`. `jobs` has the targets (`host:port`) of each path to scrape.

    Raises `ServerUnavailable` where no server is available.
    """
    program = find_prometheus()
    place = directory.absolute()
    place.mkdir(parents=True, exist_ok=True)
    configuration = place / "prometheus.yml"
    texts = [
        _JOB.format(
            job=path.strip("/").replace("/", "-"), path=path, targets=", ".join(f'"{each}"' for each in targets)
        )
        for path, targets in jobs.items()
    ]
    head = f"global: {{scrape_interval: {interval_seconds}s, scrape_timeout: {interval_seconds}s}}\nscrape_configs:\n"
    configuration.write_text(head + "".join(texts), encoding="utf-8")
    server = RunningServer(
        Launch(
            name="Prometheus",
            directory=place,
            url="http://127.0.0.1:{port}",
            command=lambda port: [
                str(program),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            ready=lambda _pid, port: _is_ready(port),
            stop_signals=((signal.SIGTERM, 10.0),),
            orphan_signal=signal.SIGTERM,
        )
    )
    server.start()
    return server


def _found(name: str) -> Path:
    for candidate in (shutil.which(name), Path(sys.prefix, "bin", name), f"/usr/bin/{name}"):
        if candidate is not None and Path(candidate).exists():
            return Path(candidate)
    raise ServerUnavailable(f"no {name} on this machine", hint="apt-get install prometheus")


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=_READY_LIMIT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False

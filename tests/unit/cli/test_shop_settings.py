"""The shop tells the command line where its data is, and nobody else."""

from __future__ import annotations

from pathlib import Path

from freehold.settings import Settings, configured_services, project_modules
from freehold_shop.supervisor.state import Secrets, write_settings


def test_the_file_that_a_shop_leaves_names_its_databases(tmp_path: Path) -> None:
    url = 'postgresql://orders:p"\\%C3%A4é@127.0.0.1:5432/orders'
    write_settings(tmp_path, Secrets({"orders": url, "users": "sqlite:////tmp/users.db"}, "nats://127.0.0.1:4222"))
    file = tmp_path / "freehold.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert configured_services(environ={}, file=file) == {"orders", "users"}
    assert project_modules(environ={}, file=file) == ["freehold_shop.assembly"]
    settings = Settings.load("orders", environ={}, file=file)
    assert (settings.database, settings.broker) == (url, "nats://127.0.0.1:4222")

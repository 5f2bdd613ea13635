"""`freehold doctor`: checks settings, databases and brokers for the guarantees, and says how to fix failures. Face."""

from __future__ import annotations

from collections.abc import Sequence

import click

from freehold.cli.entry import FAILED, UNREACHABLE
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, line
from freehold.cli.project import Project
from freehold.runtime.doctor import Report, check_services

__all__ = ["command"]


@click.command("doctor", help="Check settings, connections and what the guarantees need of servers.")
@service_option
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_json: bool) -> int:
    """Exit code 0: everything is well; 1: something is to fix; 3: something cannot be reached."""
    reports = await check_services(project.select(names), project.services)
    unwell = [finding for report in reports for finding in report.findings if not finding.ok]
    if as_json:
        answer_json({"ok": not unwell, "reports": reports})
    else:
        _print(reports)
    if any(not report.reached for report in reports):
        return UNREACHABLE
    return FAILED if unwell else 0


def _print(reports: Sequence[Report]) -> None:
    for report in reports:
        line(report.place, style="bold")
        for finding in report.findings:
            mark, style = ("ok", "") if finding.ok else ("!!", "bold red")
            line(f"  {mark} {finding.subject}: {finding.detail}", style=style)
            if finding.fix:
                line(f"     {'advice' if finding.ok else 'fix'}: {finding.fix}")
    bad = sum(not finding.ok for report in reports for finding in report.findings)
    line(f"{bad} to fix" if bad else "all well", style="bold red" if bad else "bold green")

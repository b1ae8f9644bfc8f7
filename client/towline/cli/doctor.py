"""`towline doctor`: what is wrong with a set-up, and what to do about it."""

from __future__ import annotations

import click

from towline.cli.checkup import Checkup, Finding
from towline.cli.failures import FAILED
from towline.cli.session import Session, common, pass_session

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "red", "skipped": "dim"}


@click.command()
@common
@pass_session
def doctor(session: Session) -> int:
    """Look for what is wrong: address, key, clocks, engines, pictures, permissions, proxies.

    A picture of 64 pixels is uploaded, fetched and deleted, if the key may do that.
    """
    wrong = False
    for finding in Checkup(session).findings():
        wrong |= finding.state == "wrong"
        _tell(session, finding)
    if not session.terminal.is_json:
        session.terminal.note("Something is wrong." if wrong else "All is well.")
    return FAILED if wrong else 0


def _tell(session: Session, finding: Finding) -> None:
    if session.terminal.is_json:
        session.terminal.json(
            {"check": finding.check, "state": finding.state, "said": finding.said,
             "todo": finding.todo or None}
        )  # fmt: skip
        return
    from rich.text import Text

    from towline.cli.terminal import plain

    line = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
    line.append(f" {finding.check:<12} {plain(finding.said)}", style="default")
    console = session.terminal.console(stderr=False)
    console.print(line)
    if finding.todo:
        console.print(Text(f"{'':<22}{plain(finding.todo)}", style="cyan"))

"""`towline engines`: what can be asked for."""

from __future__ import annotations

import click

from towline.cli.session import Session, common, pass_session
from towline.models import EngineOption


@click.command()
@common
@pass_session
def engines(session: Session) -> None:
    """List engines, their options with ranges and defaults, and whether workers are up."""
    with session.client() as client:
        found = client.engines.list()
    terminal = session.terminal
    if terminal.is_json:
        for engine in found:
            terminal.json(engine.raw)
        return
    for engine in found:
        state = "up" if engine.up else "no worker is up"
        default = ", the default" if engine.is_default else ""
        terminal.note(f"{engine.name}: {state}{default}")
        terminal.table(
            ("OPTION", "DEFAULT", "FROM ... TO, OR ONE OF"),
            [
                (name, str(option.default), _range(option))
                for name, option in sorted(engine.options.items())
            ],
        )


def _range(option: EngineOption) -> str:
    if option.choices:
        return ", ".join(option.choices)
    if option.minimum is None and option.maximum is None:
        return option.type
    return f"{_number(option.minimum)} ... {_number(option.maximum)}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"

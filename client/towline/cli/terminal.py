"""What a command says: results on stdout, everything else on stderr.

Colours and live bars are for terminals alone (and not with `NO_COLOR` or `TERM=dumb`). What came
from elsewhere cannot move the cursor or change colours: control characters are taken out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from towline.cli.failures import CommandFailed


class Terminal:
    """Both streams. `is_json`: stdout has JSON alone."""

    def __init__(self) -> None:
        self.is_json = False
        self.is_quiet = False
        self._consoles: dict[bool, Console] = {}

    def console(self, *, stderr: bool = True) -> Console:
        """Of rich, made when it is needed."""
        if stderr not in self._consoles:
            from rich.console import Console

            file = sys.stderr if stderr else sys.stdout
            self._consoles[stderr] = Console(
                file=file, highlight=False, markup=False, emoji=False, soft_wrap=True
            )
        return self._consoles[stderr]

    @property
    def is_live(self) -> bool:
        """Whether somebody watches stderr who can be shown a bar."""
        if self.is_quiet or self.is_json or not sys.stderr.isatty():
            return False
        return os.environ.get("TERM", "") not in ("dumb", "")

    def note(self, text: str) -> None:
        """What happens, for whoever watches: no program does."""
        if not self.is_quiet and not self.is_json:
            self.console().print(plain(text))

    def tell(self, value: Mapping[str, Any], text: str) -> None:
        """What a program wants to know at once as well: JSON on stderr for it."""
        if self.is_json:
            sys.stderr.write(json.dumps(value, ensure_ascii=False) + "\n")
        else:
            self.note(text)

    def warn(self, text: str) -> None:
        """What should be known, even with `--quiet`."""
        if self.is_json:
            self.tell({"warning": text}, text)
            return
        self.console().print(f"towline: {plain(text)}", style="yellow")

    def out(self, text: str) -> None:
        """A result, as text."""
        sys.stdout.write(f"{plain(text)}\n")

    def json(self, value: Any) -> None:
        """A result, as one line of JSON."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Columns for a reader; values between tabs, without headers, for a program."""
        if not sys.stdout.isatty():
            for row in rows:
                sys.stdout.write("\t".join(plain(cell) for cell in row) + "\n")
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for number, header in enumerate(headers):
            table.add_column(header, overflow="fold", no_wrap=number == 0)
        for row in rows:
            table.add_row(*(plain(cell) for cell in row))
        self.console(stderr=False).print(table, soft_wrap=False)

    def fail(self, failure: CommandFailed) -> None:
        """The error, all that is wrong, and what to do."""
        if self.is_json:
            told = {
                "code": failure.code or None,
                "message": failure.message,
                "details": list(failure.details),
                "hint": failure.hint or None,
                "exit_code": failure.exit_code,
            }
            sys.stderr.write(json.dumps({"error": told}, ensure_ascii=False) + "\n")
            return
        console = self.console()
        console.print(f"towline: {plain(failure.message)}", style="red")
        for line in failure.details:
            console.print(f"  {plain(line)}")
        if failure.hint:
            console.print(f"  {plain(failure.hint)}", style="cyan")


def plain(text: object) -> str:
    """Without control characters, but for ends of lines and tabs."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for each in str(text)
    )

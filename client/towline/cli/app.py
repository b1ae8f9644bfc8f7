"""The commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from towline import TowlineError, __version__
from towline.cli.batch import batch
from towline.cli.completion import PROGRAM, VARIABLE, completion
from towline.cli.doctor import doctor
from towline.cli.edit import edit
from towline.cli.engines import engines
from towline.cli.failures import FAILED, INTERRUPTED, USAGE, CommandFailed, explained
from towline.cli.jobs import cancel, job, jobs, retry
from towline.cli.login import login, logout
from towline.cli.session import Session, common
from towline.cli.webhooks import webhooks

COMMANDS = (
    login, logout, edit, jobs, job, cancel, retry, batch, engines, webhooks, doctor, completion,
)  # fmt: skip


class Ordered(click.Group):
    """Commands in the order in which one comes to need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Ordered, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name=PROGRAM)
@common
def towline() -> None:
    """Drag-based image editing by a Towline service.

    Exit codes: 0 done, 1 it did not succeed, 2 wrong use or invalid input, 3 no key or one that may
    not, 4 the service cannot be reached, 5 a limit of the account, 130 Ctrl-C, 143 SIGTERM.
    """


for _command in COMMANDS:
    towline.add_command(_command)


def run(arguments: Sequence[str], *, transport: Any = None) -> int:
    """What was asked for; the exit code. Whatever goes wrong is told on stderr."""
    session = Session(transport=transport)
    try:
        code = towline.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=session)
        return code if isinstance(code, int) else 0
    except SystemExit:
        if VARIABLE in os.environ:  # a shell completes
            raise
        return _reader_left()  # click ends so for nothing else
    except (click.Abort, KeyboardInterrupt):
        failure = CommandFailed("Interrupted.", exit_code=INTERRUPTED)
    except click.ClickException as error:
        failure = _misused(error)
    except CommandFailed as error:
        failure = error
    except TowlineError as error:
        failure = explained(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        failure = CommandFailed(f"{where}{error.strerror or error}", exit_code=FAILED)
    session.terminal.fail(failure)
    return failure.exit_code


def _misused(error: click.ClickException) -> CommandFailed:
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else ""
    return CommandFailed(error.format_message(), hint=hint, exit_code=USAGE, code="usage")


def _reader_left() -> int:
    """`towline jobs | head`: nobody reads any more, and that is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0

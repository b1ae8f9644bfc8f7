"""`python -m api serve`, and what an operator does with accounts and keys.

Exit status: 0 done, 1 refused (there is no such account, or there is one already), 2 the
command or the settings are wrong, 75 a server is away: the same command may succeed later.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from api.commands import add_commands, run_command
from api.routes.metrics import FOLDER, FOLDER_PREFIX
from api.server import Server
from shared.errors import TowlineError, Unavailable
from shared.services import build_services
from shared.settings import Settings, SettingsError, read_settings
from shared.telemetry.logging import set_up_logging

REFUSED, WRONG, AWAY = 1, 2, 75  #: 75 is EX_TEMPFAIL of sysexits.h


def main(arguments: list[str] | None = None) -> int:
    """Serve in the foreground until SIGTERM, or do one thing; the exit status."""
    chosen = _parse(arguments)
    try:
        settings = read_settings()
        if chosen.command == "serve":
            return _serve(settings)
        run_command(chosen, build_services(settings))
    except SettingsError as error:
        return _say(error, WRONG)
    except Unavailable as error:
        return _say(error, AWAY)
    except TowlineError as error:
        return _say(error, REFUSED)
    return 0


def _say(error: Exception, status: int) -> int:
    print(error, file=sys.stderr)
    return status


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve the API")
    add_commands(commands)
    return parser.parse_args(arguments)


def _serve(settings: Settings) -> int:
    if not settings.secret_key.get_secret_value():
        raise SettingsError("TOWLINE_SECRET_KEY: must be set, it signs URLs")
    set_up_logging(settings)
    Server(settings).run()
    return 0


def _count_together() -> None:
    """Begin anew with a folder in which the processes of the API put their metrics together.

    prometheus-client must be told before it is imported, and everything here imports it.
    """
    if sys.argv[1:2] == ["serve"] and FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


if __name__ == "__main__":
    _count_together()
    sys.exit(main())

"""`python -m api serve` and `python -m api key create --account NAME`."""

from __future__ import annotations

import argparse
import sys

from api.server import Server
from shared.errors import TowlineError
from shared.services import build_services
from shared.settings import Settings, SettingsError, read_settings
from shared.telemetry.logging import set_up_logging


def main(arguments: list[str] | None = None) -> int:
    """Serve in the foreground until SIGTERM, or do one thing; the exit status."""
    chosen = _parse(arguments)
    try:
        settings = read_settings()
        if chosen.command == "key":
            return _create_key(settings, chosen.account)
        return _serve(settings)
    except (SettingsError, TowlineError) as error:
        print(error, file=sys.stderr)
        return 2


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve the API")
    key = commands.add_parser("key", help="API keys").add_subparsers(dest="verb", required=True)
    create = key.add_parser("create", help="make a key and print it: it is shown this once")
    create.add_argument("--account", required=True, type=_account_name, help="made if it is new")
    return parser.parse_args(arguments)


def _account_name(text: str) -> str:
    if not 1 <= len(text.strip()) <= 200:
        raise argparse.ArgumentTypeError("an account's name has 1 to 200 characters")
    return text.strip()


def _create_key(settings: Settings, account: str) -> int:
    print(build_services(settings).accounts.create_key(account).text)
    return 0


def _serve(settings: Settings) -> int:
    if not settings.secret_key.get_secret_value():
        raise SettingsError("TOWLINE_SECRET_KEY: must be set, it signs URLs")
    set_up_logging(settings)
    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

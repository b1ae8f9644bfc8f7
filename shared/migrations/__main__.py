"""`python -m shared.migrations`: bring the schema to the newest."""

from __future__ import annotations

import sys

from shared.errors import DatabaseUnavailable
from shared.migrations import migrate
from shared.settings import SettingsError, read_settings
from shared.telemetry.logging import set_up_logging


def main() -> int:
    """0 when the schema is the newest; 1 with a line that says why not."""
    try:
        settings = read_settings()
        set_up_logging(settings)
        migrate(settings.database)
    except (SettingsError, DatabaseUnavailable) as error:
        print(f"migrations: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

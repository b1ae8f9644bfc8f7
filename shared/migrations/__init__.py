"""The schema's history. Expand first, contract later: old code runs on the next schema.

`python -m shared.migrations` brings the database of `TOWLINE_DATABASE_URL` to the newest.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def migrate(url: str) -> None:
    """Bring the schema of the database at `url` to the newest; nothing happens if it is.

    Nor if it is newer than this code: whoever goes back to the version before starts it so.
    """
    config = alembic_config(url)
    config.attributes["leaves_newer"] = True
    command.upgrade(config, "head")


def alembic_config(url: str) -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["url"] = url
    return config

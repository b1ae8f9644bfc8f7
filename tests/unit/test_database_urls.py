"""What may stand in `TOWLINE_DATABASE_URL`; nothing connects here."""

from __future__ import annotations

import pytest

from shared.db import Database


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_is_understood(scheme: str) -> None:
    engine = Database(f"{scheme}://me:p%40ss@host:5433/towline").engine
    assert (engine.dialect.name, engine.driver) == ("postgresql", "psycopg")
    assert (engine.url.host, engine.url.port, engine.url.password) == ("host", 5433, "p@ss")


def test_a_database_that_towline_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        Database("mysql://host/towline")

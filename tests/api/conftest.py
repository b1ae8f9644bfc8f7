"""The API in this process, over the real services, and two accounts that call it."""

from __future__ import annotations

import shutil
from itertools import count
from typing import TYPE_CHECKING

import pytest

from api.app import create_app
from shared.services import build_services
from shared.settings import Settings
from tests.api.calling import Caller, caller_of
from tests.api.streaming import Stream
from tests.broker import free_port
from tests.planted import SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask

    from shared.services import Services


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The stores are tested on both kinds (`tests/contract`); HTTP is the same over either."""
    return sqlite_url


@pytest.fixture
def app(services: Services) -> Flask:
    """What is served."""
    return create_app(services)


@pytest.fixture
def new_caller(app: Flask, services: Services) -> Callable[[], Caller]:
    """Somebody with a key of an account of their own."""
    numbers = count(1)

    def new() -> Caller:
        key = services.accounts.create_key(f"caller {next(numbers)}").text
        account_id = services.accounts.account_of(key)
        assert account_id is not None
        return Caller(app.test_client(), key, account_id)

    return new


@pytest.fixture
def caller(new_caller: Callable[[], Caller]) -> Caller:
    return new_caller()


@pytest.fixture
def stranger(new_caller: Callable[[], Caller]) -> Caller:
    """Another account."""
    return new_caller()


@pytest.fixture(scope="module")
def anybody(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """One caller for the many small tests of a module that do not mind what others left."""
    folder = tmp_path_factory.mktemp("anybody")
    path = shutil.copy(migrated_sqlite, folder / "towline.db")
    services = build_services(
        Settings(
            home=folder,
            database_url=f"sqlite:///{path}",
            redis_url=f"redis://127.0.0.1:{free_port()}/0",
            lease_s=600,
            secret_key=SECRET_KEY,
        )
    )
    yield caller_of(services)
    services.database.close()


@pytest.fixture(autouse=True)
def end_streams() -> Iterator[None]:
    """No stream outlives its test, nor the thread that looks for it its database."""
    yield
    for stream in Stream.opened:
        stream.notifier.close()
    for stream in Stream.opened:
        stream.wait_for_end()
    Stream.opened.clear()

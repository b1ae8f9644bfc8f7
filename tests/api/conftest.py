"""The API in this process, over the real services, and two accounts that call it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from api.app import create_app
from tests.api.calling import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from shared.services import Services


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

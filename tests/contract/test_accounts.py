"""Accounts and their keys, and which engines are up, on a real database."""

from __future__ import annotations

from sqlalchemy import func, select, update

from shared.accounts.keys import Key, new_key
from shared.accounts.tables import accounts, api_keys
from shared.engines_up import EngineUp
from shared.services import Services
from tests.crowd import in_threads
from tests.factories import let_pass


def test_a_key_opens_its_account_and_no_other_text_does(services: Services) -> None:
    key, other = services.accounts.create_key("mine"), services.accounts.create_key("other")
    account = services.accounts.account_of(key.text)
    assert account is not None
    assert services.accounts.account_of(other.text) != account
    assert services.accounts.account_of(services.accounts.create_key("mine").text) == account
    for text in ("", "tow_", new_key().text, Key(key.id, other.secret).text, key.text + "x"):
        assert services.accounts.account_of(text) is None


def test_a_key_opens_nothing_when_it_was_revoked(services: Services) -> None:
    key = services.accounts.create_key("mine")
    with services.database.writing() as connection:
        connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(revoked_at=1))
    assert services.accounts.account_of(key.text) is None


def test_the_secret_is_nowhere_in_the_database(services: Services) -> None:
    key = services.accounts.create_key("mine")
    with services.database.reading() as connection:
        rows = connection.execute(select(api_keys)).all()
    assert key.secret not in repr(rows)
    assert key.secret.encode() not in b"".join(row.secret_hash for row in rows)


def test_there_is_one_account_when_its_first_keys_are_made_at_once(services: Services) -> None:
    keys = in_threads(services.accounts.create_key, [("mine",)] * 6)
    assert len({services.accounts.account_of(key.text) for key in keys}) == 1
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(accounts)) == 1


def test_an_engine_is_up_while_a_worker_says_so(services: Services) -> None:
    up = services.engines_up
    assert up.all() == {}
    up.seen("worker-1", "warp", "warp-1", 2)
    up.seen("worker-1", "warp", "warp-1", 2)
    up.seen("worker-2", "warp", "warp-1", 3)
    assert up.all() == {"warp": EngineUp("warp", 5, "warp-1")}
    up.gone("worker-1")
    assert up.all()["warp"].threads == 3
    let_pass(services.database, services.settings.lease_s + 1)
    assert up.all() == {}
    up.forget_dead()
    up.seen("worker-2", "warp", "warp-2", 1)
    assert up.all() == {"warp": EngineUp("warp", 1, "warp-2")}

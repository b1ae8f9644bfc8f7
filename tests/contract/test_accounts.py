"""Accounts and their keys, and which engines are up, on a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, func, select, update

from shared.accounts.keys import Key, Scope, new_key
from shared.accounts.limits import Limits
from shared.accounts.tables import accounts, api_keys
from shared.engines_up import EngineUp
from shared.errors import AccountExists, DatabaseUnavailable, NotFound, Unauthorized
from shared.services import Services
from tests.crowd import in_threads
from tests.factories import let_pass


@contextmanager
def statements(services: Services) -> Iterator[list[str]]:
    """What is sent to the database meanwhile, but for the frame of a transaction."""
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    event.listen(services.database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(services.database.engine, "before_cursor_execute", note)


def test_a_key_opens_its_account_and_no_other_text_does(services: Services) -> None:
    key, other = services.accounts.create_key("mine"), services.accounts.create_key("other")
    account = services.accounts.account_of(key.text)
    assert account is not None
    assert services.accounts.account_of(other.text) != account
    assert services.accounts.account_of(services.accounts.create_key("mine").text) == account
    for text in ("", "tow_", new_key().text, Key(key.id, other.secret).text, key.text + "x"):
        assert services.accounts.account_of(text) is None


def test_a_key_opens_nothing_from_the_moment_when_it_was_revoked(services: Services) -> None:
    key, second = services.accounts.create_key("mine"), services.accounts.create_key("mine")
    assert services.accounts.revoke_key(key.id).revoked_at is not None
    assert services.accounts.account_of(key.text) is None
    first = services.accounts.revoke_key(key.id)
    assert services.accounts.revoke_key(key.id) == first, "saying it again changes nothing"
    assert services.accounts.account_of(second.text) is not None
    with pytest.raises(NotFound):
        services.accounts.revoke_key("0" * 16)


def test_a_key_opens_nothing_when_its_time_is_over(services: Services) -> None:
    key = services.accounts.create_key("mine", expires_in_s=60)
    assert services.accounts.account_of(key.text) is not None
    let_pass(services.database, 61)
    with pytest.raises(Unauthorized):
        services.accounts.identify(key.text)


def test_those_keys_are_usable_that_open_something_at_this_moment(services: Services) -> None:
    good, revoked = (services.accounts.create_key("mine") for _ in range(2))
    short = services.accounts.create_key("mine", expires_in_s=60)
    others = services.accounts.create_key("other")
    those = {good.id, revoked.id, short.id, others.id, new_key().id}
    services.accounts.revoke_key(revoked.id)
    with statements(services) as sent:
        assert services.accounts.usable_among(those) == {good.id, short.id, others.id}
    assert len(sent) == 1
    let_pass(services.database, 61)
    with services.database.writing() as connection:
        going = update(accounts).where(accounts.c.name == "other").values(deleting_at=1)
        connection.execute(going)
    assert services.accounts.usable_among(those) == {good.id}
    assert services.accounts.usable_among([]) == set()


def test_a_key_has_the_scopes_and_the_name_that_it_was_given(services: Services) -> None:
    plain = services.accounts.create_key("mine")
    narrow = services.accounts.create_key("mine", name="ci", scopes=[Scope.WRITE, Scope.READ])
    assert services.accounts.identify(plain.text).key.scopes == tuple(Scope)
    caller = services.accounts.identify(narrow.text)
    assert (caller.key.name, caller.key.scopes) == ("ci", (Scope.READ, Scope.WRITE))
    assert [key.id for key in services.accounts.keys_of("mine")] == [plain.id, narrow.id]


def test_a_key_that_is_older_than_scopes_has_all_of_them(services: Services) -> None:
    key = services.accounts.create_key("mine", scopes=[Scope.READ])
    with services.database.writing() as connection:
        connection.execute(update(api_keys).values(scopes=None))
    assert services.accounts.identify(key.text).key.scopes == tuple(Scope)


def test_a_key_is_looked_up_by_one_query_and_its_use_noted_once_a_minute(
    services: Services,
) -> None:
    key = services.accounts.create_key("mine")

    def last_use() -> int | None:
        return services.accounts.keys_of("mine")[0].last_used_at

    with statements(services) as first:
        services.accounts.identify(key.text)
    noted = last_use()
    assert noted is not None
    with statements(services) as second:
        services.accounts.identify(key.text)
    assert [sent.split()[0] for sent in first] == ["SELECT", "UPDATE"]
    assert [sent.split()[0] for sent in second] == ["SELECT"]
    assert last_use() == noted
    let_pass(services.database, 61)
    services.accounts.identify(key.text)
    assert last_use() >= noted


def test_a_key_opens_its_account_when_its_use_cannot_be_noted(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = services.accounts.create_key("mine")

    def is_away() -> None:
        raise DatabaseUnavailable("read-only for a while")

    monkeypatch.setattr(services.database, "writing", is_away)
    assert services.accounts.account_of(key.text) is not None


def test_a_secret_is_compared_in_constant_time_when_the_id_is_unknown_too(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, compared = services.accounts.create_key("mine"), []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("shared.accounts.keys.hmac.compare_digest", compare)
    for text in (key.text, new_key().text, Key(key.id, new_key().secret).text):
        services.accounts.account_of(text)
    assert compared == [(32, 32)] * 3


def test_both_keys_work_until_the_overlap_is_over_when_one_is_rotated(services: Services) -> None:
    old = services.accounts.create_key("mine", name="ci", scopes=[Scope.READ])
    new = services.accounts.rotate_key(old.id, overlap_s=100)
    before, after = services.accounts.identify(old.text), services.accounts.identify(new.text)
    assert after.account_id == before.account_id
    assert (after.key.name, after.key.scopes) == ("ci", (Scope.READ,))
    assert after.key.expires_at is None
    let_pass(services.database, 101)
    assert services.accounts.account_of(old.text) is None
    assert services.accounts.account_of(new.text) is not None


def test_a_key_ends_at_once_when_it_is_rotated_without_overlap(services: Services) -> None:
    old = services.accounts.create_key("mine", expires_in_s=1000)
    new = services.accounts.rotate_key(old.id, overlap_s=0)
    assert services.accounts.account_of(old.text) is None
    info = services.accounts.identify(new.text).key
    assert info.expires_at is not None
    assert info.expires_at - info.created_at == 1_000_000, "it lives as long as the old one"
    for key_id in (old.id, "0" * 16):
        with pytest.raises(NotFound):
            services.accounts.rotate_key(key_id, overlap_s=0)


def test_a_rotation_never_makes_a_key_live_longer(services: Services) -> None:
    old = services.accounts.create_key("mine", expires_in_s=60)
    services.accounts.rotate_key(old.id, overlap_s=3600)
    let_pass(services.database, 61)
    assert services.accounts.account_of(old.text) is None


def test_an_account_exists_once_when_it_is_made_twice(services: Services) -> None:
    account = services.accounts.create_account("mine")
    with pytest.raises(AccountExists):
        services.accounts.create_account("mine")
    assert services.accounts.named("mine") == services.accounts.get(account.id) == account
    assert services.accounts.all() == [account]
    for ask in (services.accounts.named, services.accounts.get, services.accounts.keys_of):
        with pytest.raises(NotFound):
            ask("another")


def test_an_account_has_the_settings_limits_until_it_has_its_own(
    build: Callable[..., Services],
) -> None:
    services = build(limit_queued_jobs=7, limit_requests_per_s=0)
    account = services.accounts.create_account("mine")
    assert account.limits == Limits(queued_jobs=7)
    key = services.accounts.create_key("mine")
    services.accounts.set_limits("mine", {"queued_jobs": 0, "stored_bytes": 100})
    assert services.accounts.identify(key.text).limits == Limits(stored_bytes=100)
    services.accounts.set_limits("mine", {"queued_jobs": None, "requests_per_s": 5})
    wanted = Limits(queued_jobs=7, stored_bytes=100, requests_per_s=5)
    assert services.accounts.named("mine").limits == wanted
    with pytest.raises(ValueError, match="colour"):
        services.accounts.set_limits("mine", {"colour": 1})


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

"""Endpoints and secrets as their owners have them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from sqlalchemy import select

from shared.errors import EndpointDisabled, NotFound, SecretUnreadable, TooManyEndpoints
from shared.services import Services
from shared.webhooks.tables import webhook_endpoints, webhook_secrets
from tests.crowd import in_threads
from tests.factories import HOOK, Factory, let_pass


def test_an_endpoint_is_as_it_was_made(services: Services, make: Factory) -> None:
    account, store = make.account(), services.webhooks.endpoints
    made, secret = store.create(
        account, url=HOOK, events=["job.*"], description="mine", disabled=False
    )
    assert store.get(account, made.id) == made
    assert (made.url, made.events, made.description) == (HOOK, ("job.*",), "mine")
    assert (made.disabled_at, made.failing_since, made.previous_until) == (None, None, None)
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_no_secret_can_be_read_from_the_database(services: Services, make: Factory) -> None:
    account = make.account()
    endpoint, secret = services.webhooks.endpoints.create(
        account, url=HOOK, events=["*"], description="", disabled=False
    )
    second = services.webhooks.endpoints.rotate(account, endpoint.id)[1]
    third = services.webhooks.endpoints.account_secret(account).text
    fourth = services.webhooks.endpoints.rotate_account_secret(account).text
    with services.database.reading() as connection:
        rows = [connection.execute(select(t)).one() for t in (webhook_endpoints, webhook_secrets)]
    stored = b"".join(bytes(value) for row in rows for value in row if isinstance(value, bytes))
    for each in (secret, second, third, fourth):
        assert each.encode() not in stored
        assert base64.b64decode(each.removeprefix("whsec_")) not in stored
    assert secret not in repr(rows)


def test_a_page_has_the_newest_first_and_goes_on_where_the_last_ended(
    services: Services, make: Factory
) -> None:
    account = make.account()
    ids = [make.endpoint(account).id for _ in range(5)]
    make.endpoint(make.account())
    page = services.webhooks.endpoints.page(account, limit=3)
    rest = services.webhooks.endpoints.page(account, limit=3, before=page[-1].id)
    assert [each.id for each in (*page, *rest)] == ids[::-1]


def test_only_what_is_given_is_changed(services: Services, make: Factory) -> None:
    account, store = make.account(), services.webhooks.endpoints
    endpoint = make.endpoint(account, "job.*", description="mine")
    changed = store.change(account, endpoint.id, url="https://other.example/")
    assert (changed.url, changed.events, changed.description) == (
        "https://other.example/", ("job.*",), "mine",
    )  # fmt: skip
    assert store.change(account, endpoint.id) == changed
    off = store.change(account, endpoint.id, disabled=True)
    assert (off.disabled_reason, off.disabled_at is not None) == ("owner", True)
    let_pass(services.database, 10)
    again = store.change(account, endpoint.id, disabled=True)
    assert again.disabled_at == (off.disabled_at or 0) - 10_000
    assert store.change(account, endpoint.id, disabled=False).disabled_at is None


def test_nothing_is_there_when_it_is_another_accounts(services: Services, make: Factory) -> None:
    store, stranger = services.webhooks.endpoints, make.account()
    endpoint = make.endpoint(make.account())
    calls: list[Any] = [store.get, store.delete, store.rotate, store.test,
                        lambda a, e: store.change(a, e, disabled=True)]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFound):
            call(stranger, endpoint.id)
    with pytest.raises(NotFound):
        services.webhooks.deliveries.replay_failed(stranger, endpoint.id, 0)
    assert store.get(endpoint.account_id, endpoint.id) == endpoint


def test_an_account_has_no_more_endpoints_than_it_may_have_when_many_are_made_at_once(
    build: Any,
) -> None:
    services = build(webhook_max_endpoints=3)
    make = Factory(services)
    account = make.account()

    def create(_: int) -> bool:
        try:
            make.endpoint(account)
        except TooManyEndpoints:
            return False
        return True

    assert sum(in_threads(create, [(n,) for n in range(8)])) == 3
    make.endpoint(make.account())


def test_a_secret_is_made_once_when_many_ask_for_the_first_time(
    services: Services, make: Factory
) -> None:
    account, store = make.account(), services.webhooks.endpoints
    secrets = in_threads(lambda _: store.account_secret(account).text, [(n,) for n in range(6)])
    assert len(set(secrets)) == 1
    assert store.account_secret(make.account()).text != secrets[0]


def test_the_old_secret_of_an_account_is_good_for_a_day_when_it_is_rotated(
    services: Services, make: Factory
) -> None:
    account, store = make.account(), services.webhooks.endpoints
    old = store.account_secret(account)
    new = store.rotate_account_secret(account)
    assert new.text != old.text
    assert store.account_secret(account) == new
    assert "whsec" not in repr(new)


def test_a_secret_is_mended_by_a_rotation_when_the_secret_key_was_lost(
    services: Services, make: Factory, build: Any
) -> None:
    account = make.account()
    services.webhooks.endpoints.account_secret(account)
    other = build(secret_key="another").webhooks.endpoints
    with pytest.raises(SecretUnreadable):
        other.account_secret(account)
    assert other.rotate_account_secret(account).text == other.account_secret(account).text


def test_a_test_is_promised_whatever_the_filters_and_not_when_it_is_disabled(
    services: Services, make: Factory
) -> None:
    account, store = make.account(), services.webhooks.endpoints
    endpoint = make.endpoint(account, "job.failed")
    delivery = services.webhooks.deliveries.get(account, store.test(account, endpoint.id))
    assert (delivery.event_type, delivery.endpoint_id) == ("endpoint.test", endpoint.id)
    store.change(account, endpoint.id, disabled=True)
    with pytest.raises(EndpointDisabled):
        store.test(account, endpoint.id)

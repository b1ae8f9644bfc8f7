"""Webhook endpoints and secrets as their owners see them; one transaction a method.

Every method takes the account; another account's endpoint does not exist for it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, delete, func, insert, select, update

from shared.accounts.tables import accounts
from shared.audit.trail import note
from shared.db import insert_unless_there, now_ms
from shared.errors import EndpointDisabled, NotFound, TooManyEndpoints
from shared.ids import new_id
from shared.webhooks.endpoint import DisabledBy, Endpoint, endpoint_from_row
from shared.webhooks.events import ENDPOINT_TEST
from shared.webhooks.outbox import new_event, promise, to_endpoint
from shared.webhooks.signing import new_secret
from shared.webhooks.tables import webhook_deliveries, webhook_endpoints, webhook_secrets
from shared.webhooks.targets import origin_of

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row, Table

    from shared.db import Database
    from shared.idempotency.claims import Completion
    from shared.webhooks.sealing import Sealer


SLICE = 1000  #: deliveries that one transaction deletes


@dataclass(frozen=True, slots=True)
class Secret:
    """What signs; the one before it signs as well until `previous_until`."""

    text: str = field(repr=False)
    previous_until: int | None


class EndpointStore:
    """What owners may do with endpoints and secrets."""

    def __init__(
        self, database: Database, sealer: Sealer, *, max_endpoints: int, rotation_hours: float
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._max_endpoints = max_endpoints
        self._rotation_ms = int(rotation_hours * 3_600_000)

    def create(
        self,
        account_id: str,
        *,
        url: str,
        events: Collection[str],
        description: str,
        disabled: bool,
        completion: Completion | None = None,
    ) -> tuple[Endpoint, str]:
        """A new endpoint and its secret; `TooManyEndpoints`.

        `completion` writes in the same transaction what an idempotency key made.
        """
        endpoint_id, secret = new_id("ep"), new_secret()
        with self._database.writing() as connection:
            self._check_room(connection, account_id)
            row = connection.execute(
                insert(webhook_endpoints)
                .values(
                    id=endpoint_id,
                    account_id=account_id,
                    url=url,
                    events=list(events),
                    description=description,
                    secret=self._sealer.seal(secret, endpoint_id),
                    created_at=now_ms(),
                    **(_disabled() if disabled else {}),
                )
                .returning(*webhook_endpoints.c)
            ).one()
            if completion is not None:
                completion(connection, endpoint_id, True)
            told = _audited(row, {"url", "events", "disabled_at"})
            note(connection, account_id, "webhook_endpoint.created", endpoint_id, **told)
        return endpoint_from_row(row), secret

    def secret_of(self, account_id: str, endpoint_id: str) -> str:
        """What signs for the endpoint; `NotFound`."""
        with self._database.reading() as connection:
            row = _read(connection, account_id, endpoint_id)
        return self._sealer.open(row.secret, endpoint_id)

    def get(self, account_id: str, endpoint_id: str) -> Endpoint:
        """The endpoint; `NotFound`."""
        with self._database.reading() as connection:
            return endpoint_from_row(_read(connection, account_id, endpoint_id))

    def page(self, account_id: str, *, limit: int, before: str | None = None) -> list[Endpoint]:
        """At most `limit` endpoints, newest first, older than the endpoint `before`."""
        query = select(webhook_endpoints).where(webhook_endpoints.c.account_id == account_id)
        if before is not None:
            query = query.where(webhook_endpoints.c.id < before)
        with self._database.reading() as connection:
            rows = connection.execute(
                query.order_by(webhook_endpoints.c.id.desc()).limit(limit)
            ).all()
        return [endpoint_from_row(row) for row in rows]

    def change(
        self, account_id: str, endpoint_id: str, *, disabled: bool | None = None, **values: Any
    ) -> Endpoint:
        """Change what is given. One that is enabled again has a clean slate; `NotFound`."""
        was_disabled = webhook_endpoints.c.disabled_at.is_not(None)
        if disabled:
            values |= {
                name: case((was_disabled, webhook_endpoints.c[name]), else_=value)
                for name, value in _disabled().items()
            }
        elif disabled is False:
            values |= {
                "disabled_at": None,
                "disabled_reason": None,
                "failing_since": case(
                    (was_disabled, None), else_=webhook_endpoints.c.failing_since
                ),
            }
        return self._update(account_id, endpoint_id, "webhook_endpoint.changed", **values)

    def delete(self, account_id: str, endpoint_id: str) -> None:
        """Forget the endpoint and its deliveries, a slice at a time; `NotFound`.

        It is disabled first, so that nothing is promised to it any more.
        """
        self.change(account_id, endpoint_id, disabled=True)
        while self._forget_deliveries(endpoint_id):
            pass
        with self._database.writing() as connection:
            gone = delete(webhook_endpoints).where(_is(account_id, endpoint_id))
            if connection.execute(gone).rowcount:
                note(connection, account_id, "webhook_endpoint.deleted", endpoint_id)

    def _forget_deliveries(self, endpoint_id: str) -> bool:
        """Delete a slice of an endpoint's deliveries; whether there were any."""
        those = (
            select(webhook_deliveries.c.id)
            .where(webhook_deliveries.c.endpoint_id == endpoint_id)
            .limit(SLICE)
        )
        with self._database.writing() as connection:
            gone = connection.execute(
                delete(webhook_deliveries).where(webhook_deliveries.c.id.in_(those))
            ).rowcount
        return bool(gone)

    def rotate(
        self, account_id: str, endpoint_id: str, completion: Completion | None = None
    ) -> tuple[Endpoint, str]:
        """A new secret; the old one signs as well for a while. `NotFound`.

        `completion` writes in the same transaction what an idempotency key made.
        """
        secret = new_secret()
        sealed = self._sealer.seal(secret, endpoint_id)
        values = self._rotated(webhook_endpoints, sealed)
        action = "webhook_endpoint.secret_rotated"
        return self._update(account_id, endpoint_id, action, completion, **values), secret

    def test(self, account_id: str, endpoint_id: str, completion: Completion | None = None) -> str:
        """Promise the endpoint a message to try it with; the delivery's id. `EndpointDisabled`.

        `completion` writes in the same transaction what an idempotency key made.
        """
        with self._database.writing() as connection:
            row = _read(connection, account_id, endpoint_id)
            if row.disabled_at is not None:
                raise EndpointDisabled(f"{endpoint_id} is disabled; enable it first.")
            event = new_event(account_id, ENDPOINT_TEST, data={"endpoint": endpoint_id})
            delivery = to_endpoint(event, row)
            promise(connection, [delivery])
            if completion is not None:
                completion(connection, str(delivery["id"]), True)
            note(connection, account_id, "webhook_endpoint.tested", str(delivery["id"]))
        return str(delivery["id"])

    def account_secret(self, account_id: str) -> Secret:
        """What signs the messages to URLs that came with jobs; made when it is first needed."""
        with self._database.writing() as connection:
            row = secret_row(connection, self._sealer, account_id)
        return Secret(self._sealer.open(row.secret, account_id), row.previous_until)

    def rotate_account_secret(
        self, account_id: str, completion: Completion | None = None
    ) -> Secret:
        """A new one; the old one signs as well for a while. `completion`: as above."""
        secret = new_secret()
        values = self._rotated(webhook_secrets, self._sealer.seal(secret, account_id))
        with self._database.writing() as connection:
            secret_row(connection, self._sealer, account_id)
            previous_until = connection.scalar(
                update(webhook_secrets)
                .where(webhook_secrets.c.account_id == account_id)
                .values(**values)
                .returning(webhook_secrets.c.previous_until)
            )
            if completion is not None:
                completion(connection, account_id, True)
            note(connection, account_id, "webhook_secret.rotated", account_id)
        return Secret(secret, previous_until)

    def _rotated(self, table: Table, sealed: bytes) -> dict[str, Any]:
        """Rotated twice in a day: receivers have the first secret yet, and keep it meanwhile."""
        is_first_good = table.c.previous_until > now_ms()
        first = case((is_first_good, table.c.previous_secret), else_=table.c.secret)
        until = now_ms() + self._rotation_ms
        return {"previous_secret": first, "previous_until": until, "secret": sealed}

    def _update(
        self,
        account_id: str,
        endpoint_id: str,
        action: str,
        completion: Completion | None = None,
        **values: Any,
    ) -> Endpoint:
        if not values:
            return self.get(account_id, endpoint_id)
        with self._database.writing() as connection:
            row = connection.execute(
                update(webhook_endpoints)
                .where(_is(account_id, endpoint_id))
                .values(**values)
                .returning(*webhook_endpoints.c)
            ).first()
            if row is None:
                raise _not_found(endpoint_id)
            if completion is not None:
                completion(connection, endpoint_id, True)
            told = _audited(row, values)
            note(connection, account_id, action, endpoint_id, changed=sorted(values), **told)
        return endpoint_from_row(row)

    def _check_room(self, connection: Connection, account_id: str) -> None:
        """Whether the account may have one more; a rival's endpoint is waited for."""
        connection.execute(
            select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True)
        )
        count = connection.scalar(
            select(func.count())
            .select_from(webhook_endpoints)
            .where(webhook_endpoints.c.account_id == account_id)
        )
        if (count or 0) >= self._max_endpoints:
            raise TooManyEndpoints(f"An account has at most {self._max_endpoints} endpoints.")


def secret_row(connection: Connection, sealer: Sealer, account_id: str) -> Row[Any]:
    """The account's own secrets, sealed; made if there are none."""
    query = select(webhook_secrets).where(webhook_secrets.c.account_id == account_id)
    row = connection.execute(query).first()
    if row is None:
        connection.execute(
            insert_unless_there(connection, webhook_secrets)
            .values(
                account_id=account_id,
                secret=sealer.seal(new_secret(), account_id),
                created_at=now_ms(),
            )
            .on_conflict_do_nothing()
        )
        row = connection.execute(query).one()
    return row


def _audited(row: Row[Any], changed: Collection[str]) -> dict[str, Any]:
    """What the audit log keeps of a change: of the URL the origin: the rest may hold a token."""
    all_of_it = {
        "url": ("origin", origin_of(row.url)),
        "events": ("events", row.events),
        "disabled_at": ("disabled", row.disabled_at is not None),
    }
    return dict(all_of_it[name] for name in all_of_it if name in changed)


def _disabled() -> dict[str, Any]:
    return {"disabled_at": now_ms(), "disabled_reason": DisabledBy.OWNER.value}


def _is(account_id: str, endpoint_id: str) -> ColumnElement[bool]:
    return (webhook_endpoints.c.id == endpoint_id) & (webhook_endpoints.c.account_id == account_id)


def _read(connection: Connection, account_id: str, endpoint_id: str) -> Row[Any]:
    row = connection.execute(select(webhook_endpoints).where(_is(account_id, endpoint_id))).first()
    if row is None:
        raise _not_found(endpoint_id)
    return row


def _not_found(endpoint_id: str) -> NotFound:
    return NotFound(f"There is no webhook endpoint {endpoint_id}.")

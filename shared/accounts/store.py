"""Accounts and their keys in the database; one transaction a method."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, func, insert, literal, or_, select, update

from shared.accounts.account import Account, Caller, KeyInfo, Usage
from shared.accounts.keys import ALL_SCOPES, NewKey, Scope, new_key, parse_key
from shared.accounts.limits import LIMITS, UNLIMITED, Limits
from shared.accounts.quotas import LIMIT_COLUMNS, count_jobs, limits_in
from shared.accounts.tables import accounts, api_keys
from shared.accounts.usage import STORED_BYTES, pixels_of_month, seconds_of_month_left, used
from shared.audit.tables import audit_log
from shared.audit.trail import note
from shared.db import insert_unless_there, now_ms, planned_once
from shared.errors import AccountExists, KeyReplaced, NotFound, Unauthorized, Unavailable
from shared.ids import new_id
from shared.jobs.tables import QUEUED, RUNNING

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from shared.db import Database

USE_NOTED_MS = 60_000  #: how exact a key's last use is: no write per request
COUNTED = 10_000  #: jobs that are counted for an account without a limit
UNUSABLE = "This key is not known here, or was revoked, or has expired."

_ACCOUNT = (
    accounts.c.id,
    accounts.c.name,
    accounts.c.created_at,
    accounts.c.deleting_at,
    *LIMIT_COLUMNS,
)
_KEY = tuple(column for column in api_keys.c if column.name != "secret_hash")
_IS_USABLE = and_(
    api_keys.c.revoked_at.is_(None),
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now_ms()),
)
#: Built once: it is sent with every request.
_LOOK_UP = planned_once(
    select(
        *_KEY,
        *LIMIT_COLUMNS,
        api_keys.c.secret_hash,
        and_(_IS_USABLE, accounts.c.deleting_at.is_(None)).label("is_usable"),
        (func.coalesce(api_keys.c.last_used_at, 0) < now_ms() - USE_NOTED_MS).label("is_stale"),
    )
    .join(accounts, accounts.c.id == api_keys.c.account_id)
    .where(api_keys.c.id == bindparam("key_id"))
)
#: For requests that go on for long.
_USABLE_AMONG = (
    select(api_keys.c.id)
    .join(accounts, accounts.c.id == api_keys.c.account_id)
    .where(
        api_keys.c.id.in_(bindparam("key_ids", expanding=True)),
        _IS_USABLE,
        accounts.c.deleting_at.is_(None),
    )
)
_NOBODYS = bytes(32)  #: compared with where there is no key


class AccountStore:
    """Who may use the service, and how much of it."""

    def __init__(self, database: Database, *, defaults: Limits = UNLIMITED) -> None:
        self._database = database
        self._defaults = defaults

    def identify(self, key_text: str) -> Caller:
        """Whose key this is; `Unauthorized`. One query by primary keys, nothing remembered.

        So a key that was revoked opens nothing from that moment on.
        """
        key = parse_key(key_text)
        if key is None:
            raise Unauthorized(UNUSABLE)
        with self._database.reading_at_once() as connection:
            row = connection.execute(_LOOK_UP, {"key_id": key.id}).first()
        is_it = key.matches(_NOBODYS if row is None else row.secret_hash)
        if row is None or not is_it or not row.is_usable:
            raise Unauthorized(UNUSABLE)
        if row.is_stale:
            self._note_use(key.id)
        return Caller(row.account_id, _key_info(row), limits_in(row._mapping, self._defaults))

    def account_of(self, key_text: str) -> str | None:
        """The id of the account that this key opens, or None."""
        try:
            return self.identify(key_text).account_id
        except Unauthorized:
            return None

    def usable_among(self, key_ids: Collection[str]) -> set[str]:
        """Those of the keys that open something at this moment, in one query by primary keys."""
        with self._database.reading_at_once() as connection:
            return set(connection.scalars(_USABLE_AMONG, {"key_ids": list(key_ids)}))

    def _note_use(self, key_id: str) -> None:
        """A rival that notes it at this moment is not waited for; a request never fails of it."""
        stale = func.coalesce(api_keys.c.last_used_at, 0) < now_ms() - USE_NOTED_MS
        this = select(api_keys.c.id).where(api_keys.c.id == key_id, stale)
        this = this.with_for_update(skip_locked=True, key_share=True)
        try:
            with self._database.writing() as connection:
                connection.execute(
                    update(api_keys).where(api_keys.c.id.in_(this)).values(last_used_at=now_ms())
                )
        except Unavailable:
            return  # the next request notes it

    def create_account(self, name: str) -> Account:
        """Make an account; `AccountExists`."""
        with self._database.writing() as connection:
            if not _add_account(connection, name):
                raise AccountExists(f"There is an account {name!r} already.")
            return _read(connection, self._defaults, accounts.c.name == name)

    def create_key(
        self,
        account_name: str,
        *,
        name: str | None = None,
        scopes: Iterable[Scope] = ALL_SCOPES,
        expires_in_s: float | None = None,
    ) -> NewKey:
        """Make a key for the account of this name, and the account if there is none."""
        with self._database.writing() as connection:
            _add_account(connection, account_name)
            account = _hold(connection, self._defaults, accounts.c.name == account_name)
            expires_at = _in(expires_in_s)
            return _add_key(connection, account.id, name, list(scopes), expires_at)

    def rotate_key(self, key_id: str, *, overlap_s: float) -> NewKey:
        """A new key like this one, which itself works for `overlap_s` more; `NotFound`.

        The new one lives as long as the old one was meant to. A key is rotated once
        (`KeyReplaced`): from then on its end is that of the overlap, which none should inherit.
        None is made for an account that is being deleted.
        """
        with self._database.writing() as connection:
            owner = select(api_keys.c.account_id).where(api_keys.c.id == key_id)
            if (account_id := connection.scalar(owner)) is not None:
                _hold(connection, self._defaults, accounts.c.id == account_id)
                _check_not_replaced(connection, account_id, key_id)
            row = connection.execute(
                select(*_KEY).where(api_keys.c.id == key_id, _IS_USABLE).with_for_update()
            ).first()
            if row is None:
                raise NotFound(f"There is no usable key {key_id}.")
            old = _key_info(row)
            life_ms = None if old.expires_at is None else old.expires_at - old.created_at
            expires_at = None if life_ms is None else now_ms() + life_ms
            new = _add_key(connection, old.account_id, old.name, list(old.scopes), expires_at)
            ends = now_ms() + int(overlap_s * 1000)
            earlier = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > ends)
            end = connection.scalar(
                update(api_keys)
                .where(api_keys.c.id == key_id)
                .values(expires_at=case((earlier, ends), else_=api_keys.c.expires_at))
                .returning(api_keys.c.expires_at)
            )
            note(connection, old.account_id, "key.rotated", key_id, replaced_by=new.id)
        return replace(new, replaces=key_id, replaced_until=end)

    def revoke_key(self, key_id: str) -> KeyInfo:
        """From now on the key opens nothing, however often this is said; `NotFound`."""
        with self._database.writing() as connection:
            this = api_keys.c.id == key_id
            revoked = connection.execute(
                update(api_keys)
                .where(this, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=now_ms())
                .returning(api_keys.c.account_id)
            ).first()
            if revoked is not None:
                note(connection, revoked.account_id, "key.revoked", key_id)
            row = connection.execute(select(*_KEY).where(this)).first()
        if row is None:
            raise NotFound(f"There is no key {key_id}.")
        return _key_info(row)

    def keys_of(self, account_name: str) -> list[KeyInfo]:
        """Every key of the account, the oldest first; `NotFound`."""
        with self._database.reading() as connection:
            account = _read(connection, self._defaults, accounts.c.name == account_name)
            those = select(*_KEY).where(api_keys.c.account_id == account.id)
            rows = connection.execute(those.order_by(api_keys.c.created_at, api_keys.c.id)).all()
        return [_key_info(row) for row in rows]

    def all(self) -> list[Account]:
        """Every account, by name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(*_ACCOUNT).order_by(accounts.c.name)).all()
        return [_account(row, self._defaults) for row in rows]

    def named(self, name: str) -> Account:
        """The account of this name; `NotFound`."""
        with self._database.reading() as connection:
            return _read(connection, self._defaults, accounts.c.name == name)

    def get(self, account_id: str) -> Account:
        """The account; `NotFound`."""
        with self._database.reading() as connection:
            return _read(connection, self._defaults, accounts.c.id == account_id)

    def set_limits(self, name: str, changes: Mapping[str, int | None]) -> Account:
        """Give the account limits of its own: 0 is none, None the settings' default."""
        unknown = changes.keys() - set(LIMITS)
        if unknown:
            raise ValueError(f"no such limit: {', '.join(sorted(unknown))}")
        with self._database.writing() as connection:
            account = _hold(connection, self._defaults, accounts.c.name == name)
            if changes:
                values = {f"limit_{limit}": value for limit, value in changes.items()}
                this = accounts.c.id == account.id
                connection.execute(update(accounts).where(this).values(values))
                note(connection, account.id, "account.limits_changed", account.id, **changes)
            return _read(connection, self._defaults, accounts.c.id == account.id)

    def usage(self, account_id: str) -> Usage:
        """What the account has and has used at this moment."""
        with self._database.reading() as connection:
            limits = _read(connection, self._defaults, accounts.c.id == account_id).limits
            now = connection.scalar(select(now_ms())) or 0
            queued = max(limits.queued_jobs or 0, COUNTED)
            return Usage(
                queued_jobs=count_jobs(connection, account_id, QUEUED, ceiling=queued),
                running_jobs=count_jobs(connection, account_id, RUNNING, ceiling=COUNTED),
                stored_bytes=used(connection, account_id, STORED_BYTES),
                pixels_per_month=used(connection, account_id, pixels_of_month(now)),
                month_ends_at=now // 1000 * 1000 + seconds_of_month_left(now) * 1000,
            )


def _add_account(connection: Connection, name: str) -> bool:
    """Whether it is new; waits for a rival that is making the same account."""
    account_id = connection.scalar(
        insert_unless_there(connection, accounts)
        .values(id=new_id("acc"), name=name, created_at=now_ms())
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(accounts.c.id)
    )
    if account_id is not None:
        note(connection, account_id, "account.created", account_id)
    return account_id is not None


def _add_key(
    connection: Connection,
    account_id: str,
    name: str | None,
    scopes: list[Scope],
    expires_at: ColumnElement[int] | None,
) -> NewKey:
    key = new_key()
    chosen = [scope.value for scope in Scope if scope in scopes]
    end = connection.scalar(
        insert(api_keys)
        .values(
            id=key.id,
            account_id=account_id,
            secret_hash=key.secret_hash,
            name=name,
            scopes=chosen,
            created_at=now_ms(),
            expires_at=expires_at,
        )
        .returning(api_keys.c.expires_at)
    )
    note(connection, account_id, "key.created", key.id, name=name, scopes=chosen)
    return NewKey(key.id, key.secret, expires_at=end)


def _check_not_replaced(connection: Connection, account_id: str, key_id: str) -> None:
    """`KeyReplaced`. The audit log knows, as long as it is kept."""
    rotations = select(audit_log.c.details).where(
        audit_log.c.account_id == account_id,
        audit_log.c.subject == key_id,
        audit_log.c.action == "key.rotated",
    )
    details = connection.scalar(rotations.limit(1))
    if details is not None:
        successor = details["replaced_by"]
        raise KeyReplaced(
            f"The key {key_id} was rotated already: {successor} replaces it. Rotate that one."
        )


def _in(seconds: float | None) -> ColumnElement[int] | None:
    return None if seconds is None else now_ms() + literal(int(seconds * 1000))


def _hold(connection: Connection, defaults: Limits, this: ColumnElement[bool]) -> Account:
    """The account, which stays as it is until the transaction ends; `NotFound`."""
    connection.execute(select(accounts.c.id).where(this).with_for_update(key_share=True))
    account = _read(connection, defaults, this)
    if account.deleting_at is not None:
        raise NotFound(f"The account {account.name!r} is being deleted; finish that first.")
    return account


def _read(connection: Connection, defaults: Limits, this: ColumnElement[bool]) -> Account:
    row = connection.execute(select(*_ACCOUNT).where(this)).first()
    if row is None:
        raise NotFound("There is no such account.")
    return _account(row, defaults)


def _account(row: Row[Any], defaults: Limits) -> Account:
    columns = row._mapping
    return Account(
        id=columns["id"],
        name=columns["name"],
        created_at=columns["created_at"],
        deleting_at=columns["deleting_at"],
        limits=limits_in(columns, defaults),
        own_limits={name: columns[name] for name in LIMITS},
    )


def _key_info(row: Row[Any]) -> KeyInfo:
    columns = {name: row._mapping[name] for name in KeyInfo.__slots__}
    scopes = ALL_SCOPES if columns["scopes"] is None else map(Scope, columns["scopes"])
    return KeyInfo(**{**columns, "scopes": tuple(scopes)})

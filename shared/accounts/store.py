"""Accounts and keys in the database; one transaction a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select

from shared.accounts.keys import Key, new_key, parse_key
from shared.accounts.tables import accounts, api_keys
from shared.db import insert_unless_there, now_ms
from shared.ids import new_id

if TYPE_CHECKING:
    from shared.db import Database


_KEY = select(api_keys.c.account_id, api_keys.c.secret_hash).where(
    api_keys.c.id == bindparam("key_id"), api_keys.c.revoked_at.is_(None)
)


class AccountStore:
    """Who may use the service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_key(self, account_name: str) -> Key:
        """Make a key for the account of this name, and the account if there is none."""
        key = new_key()
        with self._database.writing() as connection:
            connection.execute(  # waits for a rival that is making the same account
                insert_unless_there(connection, accounts)
                .values(id=new_id("acc"), name=account_name, created_at=now_ms())
                .on_conflict_do_nothing(index_elements=["name"])
            )
            account_id = connection.scalar(
                select(accounts.c.id).where(accounts.c.name == account_name)
            )
            connection.execute(
                insert(api_keys).values(
                    id=key.id,
                    account_id=account_id,
                    secret_hash=key.secret_hash,
                    created_at=now_ms(),
                )
            )
        return key

    def account_of(self, key_text: str) -> str | None:
        """The id of the account that this key opens, or None."""
        key = parse_key(key_text)
        if key is None:
            return None
        with self._database.reading_at_once() as connection:
            row = connection.execute(_KEY, {"key_id": key.id}).first()
        return str(row.account_id) if row is not None and key.matches(row.secret_hash) else None

"""`/v1/account` and `/v1/audit-log`: what an account may, has, and did."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask_openapi3 import APIBlueprint, Tag

from api.context import account_id, caller, services
from api.openapi import operation_id, problems
from api.schemas.account import AccountOut, AuditLogOut, AuditQuery
from shared.accounts.account import KeyInfo
from shared.audit.store import Entry
from shared.errors import InvalidRequest, Violation
from shared.ids import is_id
from shared.times import rfc3339

account = APIBlueprint(
    "account", __name__, url_prefix="/v1", abp_tags=[Tag(name="account")],
    abp_security=[{"key": []}], operation_id_callback=operation_id,
)  # fmt: skip


@account.get("/account", responses={200: AccountOut, **problems(503)})
def get_account() -> Any:
    """The account of the key: its quotas, and what it has used of them."""
    here = services().accounts.get(account_id())
    used = asdict(services().accounts.usage(account_id()))
    return {
        "id": here.id,
        "name": here.name,
        "created_at": rfc3339(here.created_at),
        "key": _render_key(caller().key),
        "quotas": asdict(here.limits),
        "usage": {**used, "month_ends_at": rfc3339(used["month_ends_at"])},
    }


@account.get("/audit-log", responses={200: AuditLogOut, **problems(422, 503)})
def list_audit_log(query: AuditQuery) -> Any:
    """What was changed in the account, when and by which key, newest first."""
    if query.cursor is not None and not is_id("aud", query.cursor):
        raise InvalidRequest(
            [Violation("/cursor", "wrong_format", "use the `next_cursor` of the page before")]
        )
    found = services().audit_log.page(
        account_id(),
        limit=query.limit + 1,
        before=query.cursor,
        action=query.action,
        subject=query.subject,
        actor_id=query.key,
    )
    page = found[: query.limit]
    next_cursor = page[-1].id if len(found) > query.limit else None
    return {"data": [_render_entry(entry) for entry in page], "next_cursor": next_cursor}


def _render_key(key: KeyInfo) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": [scope.value for scope in key.scopes],
        "created_at": rfc3339(key.created_at),
        "expires_at": None if key.expires_at is None else rfc3339(key.expires_at),
    }


def _render_entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "created_at": rfc3339(entry.created_at),
        "action": entry.action,
        "subject": entry.subject,
        "actor": {"type": entry.actor, "id": entry.actor_id},
        "request_id": entry.request_id,
        "details": entry.details,
    }

"""Which scope a key needs for each operation under `/v1`. One that is not here stops the start.

`admin` is for what tells of, or decides about, more than the caller's own pictures: who did what,
and where news of it is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.accounts.keys import Scope

if TYPE_CHECKING:
    from flask import Flask

NEEDED = {
    "upload_image": Scope.WRITE,
    "announce_upload": Scope.WRITE,
    "complete_upload": Scope.WRITE,
    "get_image": Scope.READ,
    "delete_image": Scope.WRITE,
    "submit_job": Scope.WRITE,
    "validate_job": Scope.READ,
    "list_jobs": Scope.READ,
    "get_job": Scope.READ,
    "follow_job": Scope.READ,
    "cancel_job": Scope.WRITE,
    "retry_job": Scope.WRITE,
    "delete_job": Scope.WRITE,
    "create_batch": Scope.WRITE,
    "list_batches": Scope.READ,
    "get_batch": Scope.READ,
    "cancel_batch": Scope.WRITE,
    "retry_batch": Scope.WRITE,
    "get_batch_results": Scope.READ,
    "get_batch_archive": Scope.READ,
    "create_webhook_endpoint": Scope.ADMIN,
    "list_webhook_endpoints": Scope.READ,
    "get_webhook_endpoint": Scope.READ,
    "change_webhook_endpoint": Scope.ADMIN,
    "delete_webhook_endpoint": Scope.ADMIN,
    "rotate_webhook_endpoint_secret": Scope.ADMIN,
    "test_webhook_endpoint": Scope.WRITE,
    "replay_failed_deliveries": Scope.WRITE,
    "list_webhook_deliveries": Scope.READ,
    "get_webhook_delivery": Scope.READ,
    "replay_webhook_delivery": Scope.WRITE,
    "get_webhook_secret": Scope.ADMIN,
    "rotate_webhook_secret": Scope.ADMIN,
    "list_engines": Scope.READ,
    "get_account": Scope.READ,
    "list_audit_log": Scope.ADMIN,
}


def operation_of(endpoint: str) -> str:
    """The operation's name, as the OpenAPI document has it, of a Flask endpoint."""
    return endpoint.rpartition(".")[2]


def require_declared_scopes(app: Flask) -> None:
    """`LookupError` for an operation that does not say who may call it."""
    served = {
        operation_of(rule.endpoint)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/")
    }
    if undeclared := sorted(served - NEEDED.keys()):
        raise LookupError(f"api/scopes.py does not say who may call {', '.join(undeclared)}")

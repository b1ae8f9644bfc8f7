"""What can be asked for, and what the account may, has and did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from towline._core.calling import call, json_of, model
from towline._core.context import Ask, Context, address
from towline._core.decoding import decode
from towline._flows.pages import given, pages
from towline.models import Account, AuditEntry, Engine, Model

if TYPE_CHECKING:
    from towline._core.effects import Answer, Flow, Items

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class _Engines(Model):
    data: tuple[Engine, ...]


def engines(context: Context, *, timeout_s: float | None) -> Flow[tuple[Engine, ...]]:
    """All that are configured."""

    def read(answer: Answer) -> tuple[Engine, ...]:
        return decode(_Engines, json_of(answer)).data

    ask = Ask(method="GET", path=address("engines"), timeout_s=timeout_s)
    return (yield from call(context, ask, read))


def get(context: Context, *, timeout_s: float | None) -> Flow[Account]:
    """The account of the key."""
    ask = Ask(method="GET", path=address("account"), timeout_s=timeout_s)
    return (yield from call(context, ask, model(Account)))


def audit_log(
    context: Context, *, action: str | None, subject: str | None, key: str | None, page_size: int
) -> Items[AuditEntry]:
    """What was changed, newest first."""
    query = given(action=action, subject=subject, key=key)
    yield from pages(context, address("audit-log"), AuditEntry, query, page_size)

"""The right to make what a key asks for, as a value, and how stores write that it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Claim:
    """Held until its lease runs out and somebody takes it over; `holder` is the fencing token."""

    account_id: str
    key: str
    holder: str


@dataclass(frozen=True, slots=True)
class Made:
    """What a key made, and the HTTP status that said so."""

    object_id: str
    status: int


#: What a store calls inside the transaction that makes something: `(connection, id, is_new)`.
#: It raises when the claim was taken over meanwhile, and then nothing may be made.
Completion = Callable[["Connection", str, bool], None]

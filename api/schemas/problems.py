"""What a refusal looks like (RFC 9457)."""

from __future__ import annotations

from pydantic import BaseModel


class ViolationOut(BaseModel):
    """One thing that is wrong, and where: a JSON pointer into the body (RFC 6901)."""

    pointer: str
    code: str
    detail: str
    line: int | None = None  # of a batch, from 1


class ProblemOut(BaseModel):
    """RFC 9457, with a stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ViolationOut] | None = None

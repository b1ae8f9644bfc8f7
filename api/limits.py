"""Requests per second of an account, and what every answer says of them.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` has the quota
`q` for the window `w` in seconds, `RateLimit` what is left, `r`, and the seconds `t` until there
is more. Where Redis did not answer, the request passes, and `RateLimit` is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import g

from api.context import services
from shared.errors import RateLimited

if TYPE_CHECKING:
    from flask import Response

    from shared.accounts.account import Caller

POLICY = "requests"
WINDOW_S = 1


def count_request(caller: Caller) -> None:
    """`RateLimited` if the account has made too many."""
    limit = caller.limits.requests_per_s
    if limit is None:
        return
    g.ratelimit = {"RateLimit-Policy": f'"{POLICY}";q={limit};w={WINDOW_S}'}
    verdict = services().limiter.ask(caller.account_id, limit)
    if verdict is None:
        return
    g.ratelimit["RateLimit"] = f'"{POLICY}";r={verdict.left};t={verdict.more_in_s}'
    if not verdict.passes:
        raise RateLimited(f"This account may make {limit} requests a second.", verdict.more_in_s)


def tell_limits(response: Response) -> Response:
    """The fields of the limit that this request was counted against."""
    response.headers.update(g.get("ratelimit", {}))
    return response

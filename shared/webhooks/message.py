"""The body of a message: `{"type", "timestamp", "data"}` in UTF-8, less than 20 kB.

What makes a job larger than that is left out, the least needed first, and named in
`data.left_out`; the job itself has it (`GET /v1/jobs/{id}`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared.jobs.shown import show_job
from shared.times import rfc3339

if TYPE_CHECKING:
    from shared.jobs.job import Job
    from shared.jobs.shown import Links

MAX_BYTES = 20_000  #: less than this
#: Parts of a job of any size, the least needed first, and what stands there instead.
_MAY_GO: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("result", "warnings"), []),
    (("metadata",), {}),
    (("error", "message"), "too long for a webhook"),
    (("result", "mask_url"), None),
    (("result", "candidates"), []),
    (("result",), None),
)


def body_of(event: str, at_ms: int, data: Mapping[str, Any]) -> bytes:
    """The message, as compact as JSON can be."""
    left = {**data}
    for path, instead in _MAY_GO:
        body = _encode(event, at_ms, left)
        if len(body) < MAX_BYTES:
            return body
        left = _without(left, path, instead)
    return _encode(event, at_ms, left)


def job_data(job: Job, links: Links) -> dict[str, Any]:
    """The job without its request."""
    return {name: part for name, part in show_job(job, links).items() if name != "request"}


def _encode(event: str, at_ms: int, data: Mapping[str, Any]) -> bytes:
    message = {"type": event, "timestamp": rfc3339(at_ms), "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _without(data: dict[str, Any], path: tuple[str, ...], instead: Any) -> dict[str, Any]:
    """The same without one part, unless there is none; it is named in `left_out`."""
    holder = data if len(path) == 1 else data.get(path[0])
    if not isinstance(holder, dict) or not holder.get(path[-1]):
        return data
    mended = {**holder, path[-1]: instead}
    whole = mended if len(path) == 1 else {**data, path[0]: mended}
    return {**whole, "left_out": [*data.get("left_out", []), ".".join(path)]}

"""A part becomes a batch, once, wherever this program or the service dies.

    seal     what is sent, and under which idempotency key, is on the disk
    send     the same bytes under the same key, however often: one batch
    note     the batch's id is on the disk

The service knows a key for a day. Where one is older, the batch is looked for by what was sent with
it (`towline_run`, `towline_part` in its metadata) before it is sent again; what is so old that the
service may have forgotten the batch itself is not sent at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from towline import AsyncTowline, Batch
from towline.cli.batch.parts import Part
from towline.cli.batch.store import FOLDER
from towline.cli.failures import CommandFailed
from towline.errors import APIError

if TYPE_CHECKING:
    from towline.cli.batch.patience import Patience
    from towline.cli.batch.state import State

RUN, PART = "towline_run", "towline_part"
KEY_KNOWN_S = 20 * 3600.0  #: the service keeps it for 24 h
BATCH_KNOWN_S = 5 * 86_400.0
CLOCKS_S = 3600.0  #: how far the two clocks may be apart


async def send(client: AsyncTowline, state: State, part: Part, patience: Patience) -> Batch:
    """The batch of a part that is sealed; `APIError` if the service does not take it."""
    found = await find_sent(client, state, part) if _is_old(part) else None
    if found is None:
        _refuse_forgotten(state, part)
        found = await _send(client, state, part, patience)
    if part.retry_of is None:
        state.parts.sent(part.number, found.id, found.status)
    else:
        state.parts.retried(part, found.id, found.status)
    return found


async def _send(client: AsyncTowline, state: State, part: Part, patience: Patience) -> Batch:
    async def again() -> Batch:
        assert part.retry_of is not None  # noqa: S101 - it is called for those alone
        return await client.batches.retry(part.retry_of, idempotency_key=part.key)

    async def create() -> Batch:
        return await client.batches.create(
            file,
            on_invalid="skip" if part.skips_invalid else "reject",
            metadata={RUN: state.run_id, PART: str(part.number)},
            idempotency_key=part.key,
        )

    try:
        if part.retry_of is not None:
            return await patience.bear(again)
        file = state.out / FOLDER / f"part-{part.number}.jsonl"
        try:
            _write(file, state, part.number)
            return await patience.bear(create)
        finally:
            file.unlink(missing_ok=True)
    except APIError as error:
        if error.status not in (409, 410, 413, 415, 422) or part.retry_of is not None:
            raise
        found = await find_sent(client, state, part)  # an earlier sending may have made it
        if found is None and error.status in (413, 415, 422):
            state.parts.unseal(part.number)  # refused for what it is: the next run may differ
        if found is None:
            raise
        return found


def _write(file: Path, state: State, number: int) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as target:
        target.writelines(state.parts.bodies(number))


def _age_s(part: Part) -> float:
    return time.time() - (part.sealed_at or 0.0)


def _is_old(part: Part) -> bool:
    """Whether the service may have forgotten the key; a clock that went back proves nothing."""
    return not 0 <= _age_s(part) < KEY_KNOWN_S


def _refuse_forgotten(state: State, part: Part) -> None:
    if 0 <= _age_s(part) < BATCH_KNOWN_S:
        return
    raise CommandFailed(
        f"Part {part.number} may have been sent days ago, and the service does not show it.",
        hint=f"look at `towline batch list`; then begin anew with another --out than {state.out}.",
    )


async def find_sent(client: AsyncTowline, state: State, part: Part) -> Batch | None:
    """The batch that this part became, if the service has it."""
    since = (part.sealed_at or 0.0) - CLOCKS_S
    is_it = is_of(state, part)
    async for batch in client.batches.list():
        if batch.created_at.timestamp() < since:
            return None
        if is_it(batch):
            return batch
    return None


def is_of(state: State, part: Part) -> Callable[[Batch], bool]:
    """Whether a batch is what this part became."""
    if part.retry_of is not None:
        return lambda batch: batch.retried_from == part.retry_of
    wanted = {RUN: state.run_id, PART: str(part.number)}
    return lambda batch: (
        batch.status != "rejected"
        and batch.retried_from is None
        and wanted.items() <= batch.metadata.items()
    )

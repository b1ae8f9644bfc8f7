"""The run, from a manifest to pictures. Read this file first.

It is begun by the same command however it ended before, and goes on where it was:

    plan      the manifest becomes lines of parts; all that is wrong here is told    (plan.py)
    upload    files become images, unless they are                                   (uploads.py)
    send      a part becomes a batch, once                                           (sending.py)
    follow    results are fetched as they come                                       (results.py)

While one part runs, the next one is uploaded and sent, so that the service is never idle between.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from towline import AsyncTowline, Batch
from towline.cli.batch.patience import Patience
from towline.cli.batch.request import Request
from towline.cli.batch.results import Collector
from towline.cli.batch.sending import send
from towline.cli.batch.uploads import upload
from towline.cli.failures import LIMITED, USAGE, CommandFailed
from towline.errors import APIError, LimitExceeded, Violation

if TYPE_CHECKING:
    from towline.cli.batch.parts import Part
    from towline.cli.batch.progress import Shown
    from towline.cli.batch.state import State

FIRST_LOOK_S = 0.2
LONGEST_LOOK_S = 2.0
SHARE_OF_READING = 10  #: results are read for a tenth of the time at the most ...
LONGEST_REST_S = 5.0  #: ... but pictures that take long to fetch are no reason to wait
OF_THE_ACCOUNT = ("pixel_quota_exceeded", "storage_quota_exceeded")


class Run:
    """One run of what is kept in a folder."""

    def __init__(self, client: AsyncTowline, state: State, request: Request, shown: Shown) -> None:
        self._client, self._state = client, state
        self._request, self._shown = request, shown
        self._patience = Patience(request.away_s, shown.trouble)

    async def go(self) -> None:
        """Until every line has ended and is here."""
        await self._require_account()
        self._begin_again()
        before: Part | None = None
        for part in self._state.parts.all():
            if part.is_done:
                continue
            await self._bring_there(part, before)
            if before is not None:
                await self._follow(before)
            before = self._state.parts.find(part.number)  # none if it came to nothing
        if before is not None:
            await self._follow(before)

    def _begin_again(self) -> None:
        self._state.lines.forget_missing_files(self._state.out)
        counts = self._state.lines.counts()
        ended = sum(count for status, count in counts.items() if status != "waiting")
        self._shown.here = ended
        self._shown.failed = ended - counts.get("succeeded", 0)

    async def _require_account(self) -> None:
        """The one that this run was begun with: another has neither its images nor its batches."""
        account = await self._patience.bear(self._client.account.get)
        known = self._state.get("account")
        if known is None:
            self._state.keep("account", account.id)
            self._state.keep("run", self._state.run_id)
            self._state.commit()
        elif known != account.id:
            raise CommandFailed(
                f"This run was begun with account {known}; the key is of {account.id}.",
                hint="use the key (or --profile) that it was begun with, or another --out.",
                exit_code=USAGE,
            )

    async def _bring_there(self, part: Part, before: Part | None) -> None:
        """The part is a batch that the service has accepted."""
        try:
            await self._submit(part)
        except LimitExceeded:
            if before is None:
                raise
            await self._follow(before)  # then there is room
            await self._submit(self._state.parts.get(part.number))

    async def _submit(self, part: Part) -> None:
        state = self._state
        if part.key is None:
            await self._upload(part)
            part = state.parts.seal(part.number, skips_invalid=self._request.skips_invalid)
        if part.batch_id is None:
            try:
                batch = await send(self._client, state, part, self._patience)
            except APIError as error:
                if part.retry_of is None or error.code != "nothing_to_retry":
                    raise
                state.parts.drop(part.number)
                return
            part = state.parts.get(part.number)
        else:
            batch = await self._look(part.batch_id)
        await self._wait_until_checked(part, batch)

    async def _upload(self, part: Part) -> None:
        state, pictures = self._state, self._request.pictures
        if pictures is None:
            raise CommandFailed(
                "Not all of the manifest was sent yet.",
                hint="`towline batch run` with the manifest goes on.",
                exit_code=USAGE,
            )
        await upload(
            self._client, state, part.number, pictures, self._request.parallel, self._patience,
            self._shown,
        )  # fmt: skip
        wrong = state.images.wrong_lines(part.number)
        if wrong and not self._request.skips_invalid:
            raise CommandFailed(
                f"{len(wrong)} lines name pictures that are not taken. None of them was sent.",
                details=[f"line {line}: {said}" for line, _, said in wrong],
                hint="mend them, or leave them out by --skip-invalid.",
                exit_code=USAGE,
                code="invalid_lines",
            )
        for line, _, said in wrong:
            state.lines.leave_out(line, said)

    async def _look(self, batch_id: str) -> Batch:
        async def get() -> Batch:
            return await self._client.batches.get(batch_id)

        return await self._patience.bear(get)

    async def _wait_until_checked(self, part: Part, batch: Batch) -> None:
        """The service has looked at every line; `CommandFailed` if it rejects them."""
        pause_s = FIRST_LOOK_S
        if batch.status == "validating":
            self._shown.begin("checking", self._state.lines.waiting(part.number))
        while batch.status == "validating":
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_LOOK_S, 1.5 * pause_s)
            batch = await self._look(batch.id)
            if batch.lines is not None:
                self._shown.reach(batch.lines.read)
        if batch.status == "rejected":
            raise self._rejected(part, batch)
        self._state.parts.note_status(part.number, batch.status)

    def _rejected(self, part: Part, batch: Batch) -> CommandFailed:
        """Nothing of it was run: it may be sent anew, with the manifest mended."""
        state = self._state
        details = [self._said(part, each) for each in batch.errors]
        if batch.errors_truncated:
            details.append("... and more")
        state.images.forget(part.number)
        if part.retry_of is None:
            state.parts.unseal(part.number)
        else:
            state.parts.undo_retry(part)
        for error in batch.errors:
            if error.line is None and error.code in OF_THE_ACCOUNT:
                return CommandFailed(
                    f"{error.detail} None of {batch.id} was run.",
                    hint="the same command sends it again once there is room; "
                    "`towline doctor` shows the account's limits.",
                    exit_code=LIMITED,
                    code=error.code,
                )
        others = any(each.key is not None for each in state.parts.all())
        hint = "leave these lines out by --skip-invalid"
        hint += ", and send them by a manifest of their own." if others else ", or mend them."
        return CommandFailed(
            f"{len(batch.errors)} things are wrong with the lines of {batch.id}. "
            "None of them was run.",
            details=details,
            hint=hint,
            exit_code=USAGE,
            code="invalid_lines",
        )

    def _said(self, part: Part, error: Violation) -> str:
        where = self._state.parts.line_at(part.number, error.line)
        line = f"line {where[0]}: " if where else ""
        pointer = f"{error.pointer.strip('/')}: " if error.pointer.strip("/") else ""
        return f"{line}{pointer}{error.detail} ({error.code})"

    async def _follow(self, part: Part) -> None:
        """Until all of a part has ended and is here."""
        part = next((each for each in self._state.parts.all() if each.number == part.number), part)
        if part.batch_id is None or part.is_done:
            return
        collector = Collector(
            self._client, self._state, part.number, part.batch_id, self._request.parallel,
            self._patience, self._shown,
        )  # fmt: skip
        counts = self._state.lines.counts()
        self._shown.begin("running", sum(counts.values()), self._shown.here)
        pause_s, read_at = FIRST_LOOK_S, 0.0
        size = self._state.lines.count(part.number)
        clock = asyncio.get_running_loop().time
        while True:
            batch = await self._look(part.batch_id)
            left = self._state.lines.waiting(part.number)
            to_fetch = batch.counts.final - (size - left)
            self._shown.reach(self._shown.here + max(0, to_fetch))
            if batch.is_final or (to_fetch > 0 and clock() >= read_at):
                began = clock()
                await self._patience.bear(partial(collector.collect, to_the_end=batch.is_final))
                read_at = clock() + min(LONGEST_REST_S, SHARE_OF_READING * (clock() - began))
            if batch.is_final:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_LOOK_S, 1.5 * pause_s)
        self._end(part, batch)

    def _end(self, part: Part, batch: Batch) -> None:
        if batch.status == "canceled":
            self._state.lines.end_rest(part.number, "canceled", "canceled", "It was canceled.")
        missing = self._state.lines.waiting(part.number)
        if missing:
            raise CommandFailed(
                f"{batch.id} has ended, but its results lack {missing} lines.",
                hint="run the same command again; if it stays so, tell the service's operator.",
            )
        self._state.parts.note_status(part.number, "done")

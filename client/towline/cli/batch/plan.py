"""From the manifest to lines of parts, before anything is sent: all that is wrong is found here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from towline.cli.batch.checks import Folder, wrong_with
from towline.cli.batch.manifest import Line, Manifest
from towline.cli.batch.request import MOST_BYTES, ROOM_BYTES, Request
from towline.cli.failures import USAGE, CommandFailed

if TYPE_CHECKING:
    from towline.cli.batch.state import State

SHOWN = 1_000  #: lines that are named, of those that are wrong
ID_BYTES = 64  #: more than any id has


def plan(state: State, request: Request) -> None:
    """Read the manifest, unless that was done; `CommandFailed` with each line that is wrong.

    What was planned is written in one transaction: there is a whole plan, or none.
    """
    assert request.manifest is not None and request.pictures is not None  # noqa: PT018, S101
    manifest = Manifest(request.manifest)
    if state.is_planned and not _must_begin_anew(state, manifest):
        return
    try:
        planner = _Planner(state, request, request.pictures)
        planner.read(manifest)
        planner.refuse()
        state.keep("manifest", request.manifest.name)
        state.keep("manifest_sha256", manifest.sha256)
    except BaseException:
        state.roll_back()
        raise
    state.commit()


def _must_begin_anew(state: State, manifest: Manifest) -> bool:
    """Whether another plan is needed, and may be made."""
    if manifest.look() == state.get("manifest_sha256") and (
        state.anything_was_sent() or not state.lines.counts().get("invalid")
    ):
        return False
    if state.anything_was_sent():
        raise CommandFailed(
            f"{manifest.path.name} is not as it was when its jobs were sent.",
            hint="put it back as it was to go on; what is new belongs into a manifest and an --out "
            "of its own.",
            exit_code=USAGE,
        )
    state.forget_plan()
    return True


@dataclass
class _Place:
    """Where the next line goes."""

    part: int = 1
    lines: int = 0
    size_bytes: int = 0


class _Planner:
    def __init__(self, state: State, request: Request, pictures: Folder) -> None:
        self._state, self._request, self._pictures = state, request, pictures
        self._place = _Place()
        self._wrong: list[str] = []
        self._wrong_lines = self._lines = 0
        self._in_the_way: list[str] = []

    def read(self, manifest: Manifest) -> None:
        """Every line."""
        self._state.images.forget_wrongs()
        for line in manifest.lines():
            self._lines += 1
            wrong = self._wrong_with(line)
            if wrong:
                self._take_wrong(line, wrong)
            else:
                self._take(line)

    def _wrong_with(self, line: Line) -> list[str]:
        if line.wrong and not line.job:
            return line.wrong
        unread = {each.partition(":")[0] for each in line.wrong}
        if unread & {"rect", "polygon"}:
            unread.add("mask")
        found = (*wrong_with(line.job), *self._wrong_files(line.job))
        wrong = [*line.wrong, *(each for each in found if each.partition(":")[0] not in unread)]
        earlier = self._state.lines.number_of(line.custom_id) if line.custom_id else None
        if earlier is not None:
            wrong.append(f"custom_id: line {earlier} has {line.custom_id!r} already")
        return wrong

    def _wrong_files(self, job: dict[str, Any]) -> list[str]:
        names = {name: job.get(name) for name in ("image", "mask")}
        found = [
            (field, self._look_at(name))
            for field, name in names.items()
            if isinstance(name, str) and name
        ]
        return [f"{field}: {wrong}" for field, wrong in found if wrong]

    def _look_at(self, name: str) -> str | None:
        """What is wrong with a file; each is looked at once."""
        is_known, wrong = self._state.images.look(name)
        if is_known:
            return wrong
        try:
            self._pictures.find(name)
            wrong = None
        except ValueError as error:
            wrong = str(error)
        self._state.images.note(name, wrong)
        return wrong

    def _take_wrong(self, line: Line, wrong: list[str]) -> None:
        self._wrong_lines += 1
        if len(self._wrong) < SHOWN:
            self._wrong += [f"line {line.number}: {each}" for each in wrong]
        if self._request.skips_invalid:
            self._state.lines.add_invalid(line.number, line.custom_id, wrong)

    def _take(self, line: Line) -> None:
        size_bytes = len(json.dumps(line.job, ensure_ascii=False).encode()) + 2 * ID_BYTES
        place = self._place
        is_full = place.lines >= self._request.lines_per_batch
        if is_full or place.size_bytes + size_bytes > MOST_BYTES - ROOM_BYTES:
            self._place = place = _Place(place.part + 1)
        place.lines += 1
        place.size_bytes += size_bytes
        names = self._state.lines.add(line.number, line.job, place.part, place.lines)
        self._in_the_way += [
            name
            for name in names
            if len(self._in_the_way) < SHOWN and (self._request.out / name).exists()
        ]

    def refuse(self) -> None:
        """`CommandFailed`, if this cannot be run."""
        name = self._request.manifest.name if self._request.manifest else "the manifest"
        if self._wrong_lines and not self._request.skips_invalid:
            more = f"... and {self._wrong_lines - SHOWN} more lines"
            raise CommandFailed(
                f"{self._wrong_lines} of {self._lines} lines of {name} are not valid. "
                "Nothing was sent.",
                details=[*self._wrong, *([more] if self._wrong_lines > SHOWN else [])],
                hint="mend them, or leave them out by --skip-invalid.",
                exit_code=USAGE,
                code="invalid_lines",
            )
        if not self._place.lines:
            raise CommandFailed(f"There is no valid line in {name}.", exit_code=USAGE)
        if self._in_the_way and not self._request.overwrites:
            few = ", ".join(self._in_the_way[:5])
            raise CommandFailed(
                f"{self._request.out} has files that this would replace: {few}"
                f"{', ...' if len(self._in_the_way) > 5 else ''}",
                hint="name another --out, or give --overwrite.",
                exit_code=USAGE,
            )

"""What a run came to: `results.jsonl`, and what is told at its end."""

from __future__ import annotations

import json
import os
import shlex
from itertools import islice
from typing import TYPE_CHECKING, Any

from towline.cli.batch.parts import Part
from towline.cli.failures import FAILED, CommandFailed, hint_for
from towline.cli.terminal import Terminal

if TYPE_CHECKING:
    from towline.cli.batch.state import State

RESULTS = "results.jsonl"
SHOWN = 10
BADLY = ("failed", "expired", "canceled", "invalid", "deleted")


def write_results(state: State) -> None:
    """A line for each line that has ended, in their order; whole, or as it was before."""
    part = state.out / f".{RESULTS}.part"
    with part.open("w", encoding="utf-8") as file:
        for line in state.lines.all("succeeded", *BADLY):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(state.out / RESULTS)


def report(terminal: Terminal, state: State) -> int:
    """Tell it; the exit code."""
    counts = state.lines.counts()
    parts = state.parts.all()
    badly = sum(counts.get(status, 0) for status in BADLY)
    gone = state.lines.count_without_pictures()
    if terminal.is_json:
        terminal.json(_summary(state, counts, parts))
    else:
        terminal.out(_line(counts, state))
        if badly or gone:
            _tell_failures(terminal, state, badly + gone, counts)
    return FAILED if badly or gone else 0


def _line(counts: dict[str, int], state: State) -> str:
    total = sum(counts.values())
    others = [f"{counts[name]:,} {name}" for name in BADLY if counts.get(name)]
    told = ", ".join([f"{counts.get('succeeded', 0):,} of {total:,} succeeded", *others])
    return f"{told}; pictures and {RESULTS} are in {state.out}"


def _tell_failures(terminal: Terminal, state: State, count: int, counts: dict[str, int]) -> None:
    codes = set()
    for each in islice(state.lines.all(*BADLY), SHOWN):
        error = each["error"] or {}
        code, said = str(error.get("code") or ""), error.get("message") or each["status"]
        codes.add(code)
        name = f" {each['custom_id']}" if each["custom_id"] else ""
        terminal.note(f"  line {each['line']}{name}: {said}{f' ({code})' if code else ''}")
    if count > SHOWN:
        terminal.note(f"  ... and {count - SHOWN:,} more: {state.out / RESULTS}")
    for hint in sorted({hint_for(code) for code in codes} - {""}):
        terminal.note(f"  {hint}")
    if counts.get("failed") or counts.get("expired"):
        command = f"towline batch retry {shlex.quote(str(state.out))}"
        terminal.note(f"what failed or expired can be tried again: {command}")


def _summary(state: State, counts: dict[str, int], parts: list[Part]) -> dict[str, Any]:
    return {
        "out": str(state.out),
        "results": str(state.out / RESULTS),
        "counts": {"total": sum(counts.values()), **counts},
        "batches": [
            {"id": part.batch_id, "status": part.status, "retry_of": part.retry_of}
            for part in parts
        ],
    }


def with_way_back(failure: CommandFailed, state: State) -> CommandFailed:
    """A failure that says what goes on without us, and how to come back."""
    running = [part.batch_id for part in state.parts.all() if part.batch_id and not part.is_done]
    details = [*failure.details, *([failure.hint] if failure.hint else [])]
    if running:
        stop = f"towline batch cancel {shlex.quote(str(state.out))}"
        details.append(f"{' '.join(map(str, running))} goes on at the service; to stop it: {stop}")
    return CommandFailed(
        failure.message,
        details=details,
        hint="The same command again goes on from here; nothing is charged twice.",
        exit_code=failure.exit_code,
        code=failure.code,
    )

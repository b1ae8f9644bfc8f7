"""The `lightningdrag` engine: edits of pictures in, candidates out, alone or many together.

    edit ──canvas──▶ CanvasEdit ─┐                     ┌─▶ canvas ──composite──▶ picture
    edit ──canvas──▶ CanvasEdit ─┴── Pipeline, a round ┴─▶ canvas ── next round ...
         (its own thread)              (one at a time)            (its own thread)

See `docs/engines/lightningdrag.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch

from shared.errors import EngineFailed
from worker.engines.base import (
    Asked,
    Cost,
    Edit,
    EngineBroken,
    Finish,
    Outcome,
    Prepared,
    Watch,
)
from worker.engines.lightningdrag.build import Model, build_model
from worker.engines.lightningdrag.config import ModelConfig, SchedulerName
from worker.engines.lightningdrag.device import is_lack_of_memory
from worker.engines.lightningdrag.memory import row_bytes
from worker.engines.lightningdrag.pipeline import Pipeline
from worker.engines.lightningdrag.run import Run, start_of
from worker.engines.lightningdrag.speed import Speed, at_work, speed_up
from worker.engines.lightningdrag.warm_up import warm_up

REVISION = "ld1"  #: of this code: a new one where the same edit gives another picture
DIGEST_DIGITS = 40  #: of the folder's SHA-256; the table that shows it has room for 80 characters


class LightningDragEngine:
    """One model; one pass through it at a time, whatever the number of threads that ask."""

    name = "lightningdrag"

    def __init__(self, model: Model, speed: Speed = Speed()) -> None:  # noqa: B008 - frozen
        self.model = model
        self.scheduler: SchedulerName = model.scheduler
        self.speed = speed
        self.pipeline = Pipeline(model, speed_up(model, speed))
        kind = f"{model.scheduler}:{str(model.dtype).removeprefix('torch.')}"
        self.model_digest = f"{REVISION}:{kind}:{model.digest[:DIGEST_DIGITS]}"
        self._one_at_a_time = threading.Lock()
        warm_up(self.pipeline, speed)

    @classmethod
    def load(cls, config: ModelConfig, speed: Speed = Speed()) -> LightningDragEngine:  # noqa: B008
        """Load a model folder; `ModelFolderError` names everything that is wrong with it."""
        return cls(build_model(config), speed)

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        """Make the candidates of one edit; raises what its watch does, or `InvalidRequest`."""
        (made,) = self.run_together([Asked(self.prepare(edit), watch)])
        if isinstance(made, Exception):
            raise made
        return made()

    def prepare(self, edit: Edit) -> Prepared:
        """Put an edit on its canvas; `InvalidRequest` for all that is wrong with it.

        Edits of one group have one `Shape`: canvas, steps, and guided or not. Each candidate is a
        row of every pass; `row_bytes` says of what size.
        """
        start = start_of(edit, self.scheduler)
        shape = start.first.shape
        memory = edit.candidates * row_bytes(self.model, shape)
        return Prepared(shape, Cost(edit.candidates, memory), start)

    def run_together(self, asked: Sequence[Asked]) -> list[Finish | Exception]:
        """Make the candidates of edits of one group; for each its outcome, or why it has none.

        One whose watch raises between two steps harms no other. `MemoryError` when all of them
        together need more memory than there is: ask for fewer at once.
        """
        runs = [Run(prepared.content, watch) for prepared, watch in asked]
        lack = self._run_rounds(runs)
        if lack is not None:
            torch.cuda.empty_cache()
            raise MemoryError(f"{len(asked)} edits at once: {lack}")
        return [run.stopped_by or run.outcome for run in runs]

    def _run_rounds(self, runs: Sequence[Run]) -> str | None:
        """Every round that is due; what was said if memory was lacking.

        That error goes no further: it holds every tensor of the frames that it has passed, and
        whoever tries again needs their room.
        """
        going = list(runs)
        try:
            with self._one_at_a_time, at_work(self.model.device, self.speed):
                while going := [run for run in going if run.is_going]:
                    self._next_round(going)
        except RuntimeError as error:
            if is_lack_of_memory(error):
                return str(error)
            self._check_device(error)
            raise
        return None

    def _check_device(self, error: RuntimeError) -> None:
        """`EngineBroken` if the error has taken the device along, as a failed kernel does."""
        if self.model.device.type != "cuda":
            return
        try:
            torch.zeros(1, device=self.model.device).add_(1).item()
        except RuntimeError as after:
            raise EngineBroken(f"the device gives nothing any more: {after}") from error

    def _next_round(self, runs: Sequence[Run]) -> None:
        """One pass for all runs; those that end in it are not `is_going` any more."""
        edits, owners = [], []
        for run in runs:
            for edit in run.canvas_edits():
                edits.append(edit)
                owners.append(run)

        def leave(index: int) -> list[int]:
            for run in runs:
                run.after_step(index)
            return [number for number, run in enumerate(owners) if not run.is_going]

        pictures = self.pipeline(edits, leave)
        for run in runs:
            own = [made for made, owner in zip(pictures, owners, strict=True) if owner is run]
            if not all(own) and run.is_going:
                run.stopped_by = _out_of_range(self.model.dtype)
            run.take([picture for made in own for picture in made])


def _out_of_range(dtype: torch.dtype) -> EngineFailed:
    name = str(dtype).removeprefix("torch.")
    advice = "" if dtype == torch.float32 else "; TOWLINE_MODEL_DTYPE=float32 has a wider one"
    return EngineFailed(f"The model's numbers left the range of {name}{advice}.")

"""What every engine is: pictures and points in, pictures out. Nothing of jobs.

An engine is constructed once in a process and shared by its threads, so `run`
must be safe to call from several at once. Between two steps it calls
`watch.step(done, steps)`, which reports progress and raises whatever should end
the run (a cancel, a deadline, a drain); an engine lets that exception pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shared.edits import Drag


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit asked of an engine, checked already.

    picture_HWC: uint8, H x W x 3 (sRGB) or H x W x 4 (sRGB with straight alpha), oriented.
    mask_HW: bool, H x W; True may change, every other pixel must come back identical.
    rounds: one or more sets of drags; each round starts from the last one's picture.
        Points are (x, y) in pixels of the picture, whole numbers are pixel centres.
    seed: of candidate 0. candidates: how many pictures are wanted.
    options: the engine's own, by name, defaults filled in (see `shared/engines.py`).
    """

    picture_HWC: NDArray[np.uint8]
    mask_HW: NDArray[np.bool_]
    rounds: tuple[tuple[Drag, ...], ...]
    seed: int = 0
    candidates: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EditWarning:
    """Something the caller should know about a picture that was made all the same."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture: uint8, of the shape of the edit's picture, and the seed that gives it again."""

    picture_HWC: NDArray[np.uint8]
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave. `measures` are the engine's own numbers (for reports, not for clients)."""

    candidates: tuple[Candidate, ...]
    warnings: tuple[EditWarning, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)


class Watch(Protocol):
    """Who listens to a run, and may end it."""

    def step(self, done: int, steps: int) -> None:
        """Say that `done` of `steps` are done; raises what should end the run."""

    def check(self) -> None:
        """Raise what should end the run, if there is something."""


class EngineUnusable(Exception):
    """The engine cannot be built with these settings; the message says what to change."""


class EngineBroken(Exception):
    """Nothing can be run in this process any more, as after an error of the device."""


class Engine(Protocol):
    """One way to edit."""

    name: str
    model_digest: str  #: changes whenever the same edit may give another picture

    def run(self, edit: Edit, watch: Watch) -> Outcome:
        """Make the candidates of one edit; `EngineError` when it cannot be done."""


class Cost(NamedTuple):
    """How much of a batch an edit takes: rows of every pass, and about how many bytes."""

    rows: int
    memory: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """An edit as its engine wants it; `content` is the engine's own affair.

    group: edits of one group can be run together. cost: what this one adds to a batch; the
    memory is an estimate, greater than 0.
    """

    group: Hashable
    cost: Cost
    content: Any


class Asked(NamedTuple):
    """An edit that was prepared, and who watches over it."""

    prepared: Prepared
    watch: Watch


Finish = Callable[[], Outcome]  #: what is left to do for one edit, once its batch has run


@runtime_checkable
class BatchingEngine(Engine, Protocol):
    """An engine that makes several edits together faster than one after the other.

    What is to be done for one edit alone is done by the thread that wants it, before its batch
    (`prepare`) and after it (`Finish`), so that no other edit waits for it.
    """

    def prepare(self, edit: Edit) -> Prepared:
        """Make an edit ready for a batch; `InvalidRequest` for one that cannot be run."""

    def run_together(self, asked: Sequence[Asked]) -> list[Finish | Exception]:
        """Run edits of one group; for each how it is finished, or why it has no outcome.

        One that goes wrong, or whose watch raises between two steps, harms no other. `MemoryError`
        when all of them together need more memory than there is.
        """

"""The life of a job: six states, and the only moves allowed between them.

    queued ──claim──▶ running ──succeed──▶ succeeded
      │  ▲              │ │ │
      │  └───requeue────┘ │ └──fail──────▶ failed
      │                   └────cancel────▶ canceled
      ├────cancel────────────────────────▶ canceled
      ├────fail──────────────────────────▶ failed      its deadline passed while it waited
      └────expire────────────────────────▶ expired

Asking a running job to cancel is not a state: it is the `cancel_requested_at`
column, which the engine looks at between steps. Nothing leaves a final state.
"""

from __future__ import annotations

from enum import StrEnum

from shared.errors import IllegalTransition


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"  #: waits for a worker
    RUNNING = "running"  #: a worker holds its lease
    SUCCEEDED = "succeeded"  #: the result is in object storage
    FAILED = "failed"  #: the error is permanent, or no attempts are left
    CANCELED = "canceled"  #: stopped because its owner asked
    EXPIRED = "expired"  #: nobody could start it in time

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self in FINAL


class Move(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    REQUEUE = "requeue"
    CANCEL = "cancel"
    EXPIRE = "expire"


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})

TRANSITIONS: dict[tuple[JobState, Move], JobState] = {
    (JobState.QUEUED, Move.CLAIM): JobState.RUNNING,
    (JobState.QUEUED, Move.CANCEL): JobState.CANCELED,
    (JobState.QUEUED, Move.FAIL): JobState.FAILED,
    (JobState.QUEUED, Move.EXPIRE): JobState.EXPIRED,
    (JobState.RUNNING, Move.SUCCEED): JobState.SUCCEEDED,
    (JobState.RUNNING, Move.FAIL): JobState.FAILED,
    (JobState.RUNNING, Move.REQUEUE): JobState.QUEUED,
    (JobState.RUNNING, Move.CANCEL): JobState.CANCELED,
}


def advance(state: JobState, move: Move) -> JobState:
    """Where `move` leads from `state`; `IllegalTransition` if nowhere."""
    try:
        return TRANSITIONS[state, move]
    except KeyError:
        raise IllegalTransition(f"{move} is no move of a job that is {state}") from None


RETRY_FIRST_S = 2
RETRY_LONGEST_S = 60
RETRY_TOTAL_S = 600
RETRY_JITTER = 0.25  #: of a wait, taken off at random: jobs that failed together part


def retry_delay_s(retries: int) -> int | None:
    """How long a job waits before it is tried again after a retryable error.

    2, 4, 8, 16, 32, 60, 60 ... seconds; None once they add up to ten minutes.
    `retries` is how many such waits it has had.
    """
    waits = [min(RETRY_FIRST_S * 2**n, RETRY_LONGEST_S) for n in range(retries + 1)]
    return waits[-1] if sum(waits) <= RETRY_TOTAL_S else None

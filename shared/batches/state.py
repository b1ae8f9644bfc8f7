"""The life of a batch.

    validating ──accept──▶ running ──its last item ends──▶ completed
        │                     └──cancel, and its last item ends──▶ canceled
        ├──reject──▶ rejected
        └──cancel──▶ canceled

Asking a running batch to cancel is a column, as for a job: what runs stops between two steps, and
what waits never starts. Nothing leaves a final state.
"""

from __future__ import annotations

from enum import StrEnum


class BatchState(StrEnum):
    """Where a batch is."""

    VALIDATING = "validating"  #: its lines are being read; none of them can run
    RUNNING = "running"  #: accepted as a whole
    COMPLETED = "completed"  #: every item is final, whatever its outcome
    CANCELED = "canceled"  #: its owner asked, and nothing of it runs any more
    REJECTED = "rejected"  #: something was wrong with it, and nothing of it ran

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self in FINAL


FINAL = frozenset({BatchState.COMPLETED, BatchState.CANCELED, BatchState.REJECTED})

"""Where a delivery stands."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """A delivery that has ended can be asked for again: then it is pending once more."""

    PENDING = "pending"  #: waits for its next try, or is being sent
    SUCCEEDED = "succeeded"  #: the receiver said 2xx
    FAILED = "failed"  #: no tries are left, or the endpoint is disabled

"""What an account may have and do at the most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit.

    requests_per_s: of the HTTP API. queued_jobs: more are refused. running_jobs: more wait.
    stored_bytes: images and results. pixels_per_month: of the pictures that jobs ask for.
    """

    requests_per_s: int | None = None
    queued_jobs: int | None = None
    running_jobs: int | None = None
    stored_bytes: int | None = None
    pixels_per_month: int | None = None

    @property
    def are_counted(self) -> bool:
        """Whether there is one of which must be known how much is left when a job is submitted."""
        return bool(self.queued_jobs or self.stored_bytes or self.pixels_per_month)

    @classmethod
    def of(cls, values: Mapping[str, int]) -> Limits:
        """From numbers by name, of which 0 stands for no limit."""
        return cls(**{name: values[name] or None for name in LIMITS})

    def overridden(self, own: Mapping[str, int | None]) -> Limits:
        """These, but for those that an account has of its own (0: none; None: not its own)."""
        values = {
            name: getattr(self, name) if own[name] is None else own[name] or None for name in LIMITS
        }
        return Limits(**values)


UNLIMITED = Limits()
LIMITS = tuple(field.name for field in fields(Limits))

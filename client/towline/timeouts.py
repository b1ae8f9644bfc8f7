"""How long the client waits for what."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. Nothing is waited for without an end, but for `wait(..., timeout=None)`.

    call_s: one call with all of its repeats and the pauses between them.
    connect_s: until a connection is there.
    silence_s: without a byte, in either direction; then the request is repeated.
    transfer_s: in the place of `call_s` where files go up or down: an upload, a batch,
        a download, an archive.
    """

    call_s: float = 60.0
    connect_s: float = 5.0
    silence_s: float = 20.0
    transfer_s: float = 600.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ValueError(f"{each.name} must be more than 0")

    @classmethod
    def of(cls, timeout: float | Timeouts | None) -> Timeouts:
        """The defaults, with `call_s` changed if a number is given."""
        if isinstance(timeout, Timeouts):
            return timeout
        return cls() if timeout is None else cls(call_s=timeout)

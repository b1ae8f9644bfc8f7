"""Whole lines, out of parts that end anywhere."""

from __future__ import annotations

from towline._failures import UnreadableAnswer

LONGEST_BYTES = 32 * 2**20


class Lines:
    """Give it the parts; what is left at the end was cut off."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> list[bytes]:
        """The lines that are whole now, without their ends."""
        *whole, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > LONGEST_BYTES:
            raise UnreadableAnswer(f"A line of the answer is longer than {LONGEST_BYTES} bytes.")
        return [line.removesuffix(b"\r") for line in whole]

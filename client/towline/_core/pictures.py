"""What the first bytes of a picture say."""

from __future__ import annotations


def content_type_of(head: bytes) -> str | None:
    """Of PNG, JPEG and WebP; None for anything else, which the service does not take."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None

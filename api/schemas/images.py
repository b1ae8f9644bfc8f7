"""What clients say and are told of images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from shared.submission.fields import WHOLE, Body


class UploadBody(Body):
    """Bytes that will be put straight into object storage."""

    content_type: Literal["image/png", "image/jpeg", "image/webp"]
    size_bytes: Annotated[int, Field(ge=1), WHOLE]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ImagePath(BaseModel):
    """An image's address."""

    image_id: str


class ImageOut(BaseModel):
    """An uploaded picture or mask; sizes are after EXIF orientation."""

    id: str
    width: int
    height: int
    content_type: str
    size_bytes: int
    sha256: str
    created_at: str
    expires_at: str
    url: str


class UploadTarget(BaseModel):
    """Where and how to put the bytes."""

    method: Literal["PUT"]
    url: str
    headers: dict[str, str]
    expires_at: str


class UploadOut(BaseModel):
    """An announced image."""

    id: str
    upload: UploadTarget

"""Object storage: bytes under names. The layout of the names is in `keys.py`.

Two stores keep the same promises: `FolderStore` for one machine, `S3Store` (`s3.py`, which
alone knows boto3, and is imported only where it is used) for many.
"""

from __future__ import annotations

from shared.objects.folder import FolderStore
from shared.objects.keys import (
    MASK_NAME,
    batch_key,
    candidate_name,
    content_type_of,
    image_key,
    result_key,
    results_prefix,
    staging_key,
)
from shared.objects.store import ClientUrls, ObjectStore, Stored, Upload

__all__ = [
    "MASK_NAME",
    "ClientUrls",
    "FolderStore",
    "ObjectStore",
    "Stored",
    "Upload",
    "batch_key",
    "candidate_name",
    "content_type_of",
    "image_key",
    "result_key",
    "results_prefix",
    "staging_key",
]

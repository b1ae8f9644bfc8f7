"""How the names of objects are laid out, and which names there are.

    images/<account>/<sha256>/<image>.<n>   an uploaded picture, exactly as it came
    staging/<account>/<image>               bytes put through a signed URL, not looked at yet
    results/<account>/<job>/<attempt>/...   what one attempt made
    batches/<account>/<batch>               the lines of a batch, until they were read

An attempt writes under its own number, so a worker that lost its lease cannot overwrite
what the next one stored. Each time an image's bytes are stored they get a name of their own:
one that no row points to can never be pointed to again once its upload is over.
"""

from __future__ import annotations

import re
import secrets

from shared.errors import NotFound

PREFIXES = ("images/", "results/", "staging/", "batches/")
MASK_NAME = "mask.png"  #: of the mask that was made for a job without one

_KEY = re.compile(r"(batches|images|staging|results)(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def image_key(account_id: str, sha256: str, image_id: str) -> str:
    """A fresh place for the bytes of an image."""
    return f"images/{account_id}/{sha256}/{image_id}.{secrets.token_hex(4)}"


def staging_key(account_id: str, image_id: str) -> str:
    """Where a client puts the bytes of an announced image."""
    return f"staging/{account_id}/{image_id}"


def result_key(account_id: str, job_id: str, attempt: int, name: str) -> str:
    """Where one attempt keeps one of its pictures."""
    return f"{results_prefix(account_id, job_id)}{attempt}/{name}"


def batch_key(account_id: str, batch_id: str) -> str:
    """Where the lines of a batch wait to be read."""
    return f"batches/{account_id}/{batch_id}"


def results_prefix(account_id: str, job_id: str) -> str:
    """Under which every attempt of a job keeps its pictures."""
    return f"results/{account_id}/{job_id}/"


def candidate_name(index: int, form: str) -> str:
    """What one of an attempt's pictures is called."""
    return f"{index}.{form}"


def content_type_of(name: str) -> str:
    """The media type of a picture of ours, by its name."""
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def checked(key: str) -> str:
    """The key, if it is one of ours; `NotFound`."""
    if not _KEY.fullmatch(key):
        raise NotFound(f"There is no object {key!r}.")
    return key

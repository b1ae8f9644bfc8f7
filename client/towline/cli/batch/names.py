"""What the pictures of a line are called: its `custom_id`, as every file system bears it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from towline.cli.pictures import SUFFIXES

LONGEST_BYTES = 120
_UNFIT = re.compile(r"[^\w.\- ()+,@=]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def stem_of(custom_id: str) -> str:
    """Letters, digits and a few signs; never hidden, never a way to somewhere else."""
    stem = _UNFIT.sub("_", unicodedata.normalize("NFC", custom_id)).strip(" .") or "_"
    stem = stem.encode()[:LONGEST_BYTES].decode(errors="ignore").rstrip(" .")
    return f"_{stem}" if _RESERVED.fullmatch(stem) else stem


def names_of(stem: str, job: Mapping[str, Any]) -> list[str]:
    """`a.png`; `a-0.png`, `a-1.png`, ... if several candidates are asked for."""
    options = job.get("options") or {}
    suffix = SUFFIXES.get(str(options.get("format") or "png"), ".png")
    count = options.get("candidates")
    if not isinstance(count, int) or not 2 <= count <= 8:
        return [f"{stem}{suffix}"]
    return [f"{stem}-{index}{suffix}" for index in range(count)]


def folded(name: str) -> str:
    """The same for two names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()

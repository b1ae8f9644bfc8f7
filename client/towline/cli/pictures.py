"""Result pictures as files, and which format a file's name asks for."""

from __future__ import annotations

from pathlib import Path

from towline import Job, Towline

FORMATS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}


def format_of(path: Path) -> str:
    """The format that a suffix stands for; `ValueError`."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(FORMATS)
        raise ValueError(f"{path.name}: the suffix must be one of {known}") from None


def save(client: Towline, job: Job, output: Path) -> list[Path]:
    """All candidates: `out.png`, or `out-0.png`, `out-1.png`, ... if there are several."""
    count = len(job.result.candidates) if job.result else 0
    names = [output] if count == 1 else [numbered(output, index) for index in range(count)]
    return [client.jobs.download(job, name, candidate=index) for index, name in enumerate(names)]


def numbered(path: Path, index: int) -> Path:
    """`out-2.png`."""
    return path.with_name(f"{path.stem}-{index}{path.suffix}")

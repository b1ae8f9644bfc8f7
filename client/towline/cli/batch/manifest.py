"""A manifest, line by line, in constant memory: JSONL or CSV, as jobs with names of files.

A line of JSONL is what `POST /v1/jobs` takes, plus `custom_id`, with names of files for `image` and
for a mask that is a picture. A row of CSV says the same in columns (docs/howto/command-line.md). A
line that cannot be read is no end: it comes with what is wrong, and the next one follows.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from towline.cli import notation
from towline.cli.failures import USAGE, CommandFailed

LONGEST_LINE_BYTES = 2**20
BOM = b"\xef\xbb\xbf"


@dataclass
class Line:
    """number: where it begins in the file, from 1. job: as far as it could be read."""

    number: int
    job: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def custom_id(self) -> str | None:
        found = self.job.get("custom_id")
        return found if isinstance(found, str) else None


class Manifest:
    """A file of jobs. `sha256` is of what was read, once all lines were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = ""
        readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".tsv": _csv}
        try:
            self._read = readers[path.suffix.lower()]
        except KeyError:
            raise CommandFailed(
                f"{path.name} is neither .jsonl nor .csv.",
                hint="the two forms of a manifest: docs/howto/command-line.md",
                exit_code=USAGE,
            ) from None

    def lines(self) -> Iterator[Line]:
        """All that are not blank."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            yield from self._read(_physical(file, digest.update))
        self.sha256 = digest.hexdigest()

    def look(self) -> str:
        """Its sha256, without reading its lines."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _physical(file: BinaryIO, seen: Callable[[bytes], object]) -> Iterator[tuple[int, bytes]]:
    """Lines as they are on the disk; of one that is too long, its beginning."""
    number = 0
    while data := file.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        seen(data)
        rest = data
        while len(rest) > LONGEST_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE_BYTES + 1)
            seen(rest)
        yield number, data.removeprefix(BOM) if number == 1 else data


def _jsonl(lines: Iterable[tuple[int, bytes]]) -> Iterator[Line]:
    for number, data in lines:
        if data.strip():
            yield _json_line(number, data)


def _json_line(number: int, data: bytes) -> Line:
    line = Line(number)
    if len(data) > LONGEST_LINE_BYTES:
        line.wrong.append("the line is longer than 1 MiB")
        return line
    try:
        found = json.loads(data.rstrip(), parse_constant=_no_number, object_pairs_hook=_object)
        _require_sendable(found)
    except (ValueError, RecursionError) as error:
        line.wrong.append(f"it is not JSON: {_said(error)}")
        return line
    if isinstance(found, dict):
        line.job = found
    else:
        line.wrong.append("a JSON object is needed, such as {...}")
    return line


def _said(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return str(error)


def _require_sendable(value: Any) -> None:
    """`ValueError` for what Python reads, but no JSON carries: half a surrogate, an infinity."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it has half of a surrogate pair") from None
    except ValueError:
        raise ValueError("a number in it is too large") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _csv(lines: Iterable[tuple[int, bytes]]) -> Iterator[Line]:
    source = iter(lines)
    header = next(source, (1, b""))[1]
    text = _Text(header, source)
    rows = csv.reader(text, delimiter=_delimiter(header), strict=True)
    columns: list[str] | None = None
    while True:
        first = text.number + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            said = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            if columns is None:
                raise _bad_header([f"it cannot be read: {said}"]) from None
            yield Line(first, wrong=[f"the row cannot be read: {said}"])
            rows = csv.reader(text, delimiter=_delimiter(header), strict=True)
            continue
        if columns is None:
            columns = _columns(cells)
        elif any(cell.strip() for cell in cells):
            yield _row(first, columns, cells)


class _Text:
    """Lines of text for a reader of CSV; `number` is that of the last one it took."""

    def __init__(self, header: bytes, rest: Iterator[tuple[int, bytes]]) -> None:
        self.number = 0
        self._header: bytes | None = header
        self._rest = rest

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        if self._header is not None:
            data, self._header = self._header, None
            self.number = 1
        else:
            self.number, data = next(self._rest)
        return data.decode()


def _delimiter(header: bytes) -> str:
    """What stands between the columns: spreadsheets of some countries write semicolons."""
    return max(",;\t", key=lambda each: header.count(each.encode()))


def _columns(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    known = ", ".join(COLUMNS)
    wrong = [
        f"there is no column {name!r}; the columns are {known}, option.NAME, metadata.NAME"
        for name in names
        if name not in COLUMNS and not _is_open(name)
    ]
    wrong += [f"column {name!r} is there twice" for name in set(names) if names.count(name) > 1]
    wrong += [f"a column {name!r} is needed" for name in NEEDED if name not in names]
    if wrong:
        raise _bad_header(wrong)
    return names


def _bad_header(wrong: list[str]) -> CommandFailed:
    return CommandFailed(
        "The first line of the manifest has to name its columns.",
        details=[f"line 1: {each}" for each in wrong],
        hint="columns and an example: docs/howto/command-line.md",
        exit_code=USAGE,
    )


def _is_open(name: str) -> bool:
    kind, _, rest = name.partition(".")
    return kind in ("option", "metadata") and bool(rest)


def _row(number: int, columns: list[str], cells: list[str]) -> Line:
    line = Line(number)
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        line.wrong.append(
            f"there are {len(cells)} cells for {len(columns)} columns; "
            "a cell with the separator in it stands in double quotes"
        )
        return line
    for name, cell in zip(columns, cells, strict=False):
        if cell.strip():
            try:
                _fill(line.job, name, cell.strip())
            except ValueError as error:
                line.wrong.append(f"{name}: {error}")
    return line


def _fill(job: dict[str, Any], name: str, cell: str) -> None:
    kind, _, rest = name.partition(".")
    if kind == "option":
        job.setdefault("options", {})[rest] = notation.value_of(cell)
    elif kind == "metadata":
        job.setdefault("metadata", {})[rest] = cell
    elif name in ("seed", "candidates"):
        job.setdefault("options", {})[name] = _whole(cell)
    elif name in ("mask", "rect", "polygon") and "mask" in job:
        raise ValueError("a row has one of mask, rect and polygon")
    else:
        target, read = COLUMNS[name]
        job[target] = read(cell)


def _whole(cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise ValueError(f"{cell!r} is no whole number") from None


#: Each column, the field that it fills, and how its cells are read.
COLUMNS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "custom_id": ("custom_id", str),
    "image": ("image", str),
    "mask": ("mask", str),
    "rect": ("mask", notation.rect),
    "polygon": ("mask", notation.polygon),
    "drags": ("drags", notation.drags),
    "rounds": ("rounds", notation.rounds),
    "engine": ("engine", str),
    "seed": ("options", _whole),
    "candidates": ("options", _whole),
    "priority": ("priority", str),
    "expires_in_s": ("expires_in_s", _whole),
    "timeout_s": ("timeout_s", _whole),
}
NEEDED = ("custom_id", "image")

"""The look for secrets in texts and in the logs of a folder. Who looks when: `leaks.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.planted import PLANTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOOKS_SECRET = re.compile(
    rb"tow_[0-9a-f]{16}" + rb"_[0-9A-Za-z]{43}|whsec" + rb"_[0-9A-Za-z+/=]{24,}"
)
LOGS = ("*.log", "*.log.*", "log")  #: PostgreSQL's is the last
MADE = ("key", "secret")  #: files of an embedded home


class Watch:
    """What was found so far, each leak by where it is, never by what it is."""

    def __init__(self) -> None:
        self.leaks: list[str] = []

    def look(self, said: bytes, where: str, also: Iterable[bytes] = ()) -> None:
        for secret in (*(value.encode() for value in PLANTED), *also):
            if secret in said:
                self.leaks.append(f"{where}: a planted secret")
        if LOOKS_SECRET.search(said):
            self.leaks.append(f"{where}: an API key or a webhook secret")

    def look_through(self, folder: Path) -> None:
        made = [secret for name in MADE for secret in _contents(folder, name)]
        for path in {path for name in LOGS for path in folder.rglob(name)}:
            if path.is_file() and not path.is_symlink():
                self.look(path.read_bytes(), str(path.relative_to(folder)), made)


def refuse(folder: Path) -> None:
    """Fail if a log in the folder has a secret; for what is gone by the end of the session."""
    watch = Watch()
    watch.look_through(folder)
    assert not watch.leaks, f"secrets in the output: {sorted(set(watch.leaks))}"


def refuse_text(said: str, where: str) -> None:
    """The same of one text."""
    watch = Watch()
    watch.look(said.encode(), where)
    assert not watch.leaks, f"secrets in the output: {watch.leaks}"


def _contents(folder: Path, name: str) -> Iterator[bytes]:
    for path in folder.rglob(name):
        if path.is_file() and len(secret := path.read_bytes().strip()) >= 16:
            yield secret

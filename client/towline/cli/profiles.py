"""Where the service is, and with which key: given, from the environment, or from `towline login`.

    --profile NAME                   the profile of that name, whatever the environment says
    TOWLINE_API_KEY, TOWLINE_URL     else these
    TOWLINE_PROFILE, or `default`    else that profile

A key is sent to the address alone that it was kept for: a profile's key never goes where
`TOWLINE_URL` points. The file is the user's alone (0600), and is written whole or not at all.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from towline._core.context import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE
from towline.cli.failures import DENIED, CommandFailed

PROFILE_VARIABLE = "TOWLINE_PROFILE"
DEFAULT = "default"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A service and a key for it; `source` says where they were found."""

    url: str
    api_key: str = field(repr=False)
    source: str


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where profiles are kept."""
    base = environment.get("XDG_CONFIG_HOME") or environment.get("APPDATA")
    folder = Path(base) if base and Path(base).is_absolute() else Path.home() / ".config"
    return folder / "towline" / "credentials.json"


def find_place(profile: str | None = None, environment: Mapping[str, str] = os.environ) -> Place:
    """Whom to ask; `CommandFailed` if nobody said."""
    url = environment.get(URL_VARIABLE, "").strip().rstrip("/")
    key = environment.get(KEY_VARIABLE, "").strip()
    profiles = Profiles.read(config_file(environment))
    name = profile or environment.get(PROFILE_VARIABLE) or DEFAULT
    kept = profiles.places.get(name)
    if profile is None and key:
        return Place(url or (kept.url if kept else DEFAULT_URL), key, KEY_VARIABLE)
    if kept is None:
        raise _nobody(name, profiles, explicit=profile is not None or name != DEFAULT)
    if profile is None and url and url != kept.url:
        raise CommandFailed(
            f"{URL_VARIABLE} is {url}, but the key of profile {name} is for {kept.url}.",
            hint=f"set {KEY_VARIABLE} too, or unset {URL_VARIABLE}, or name a --profile.",
            exit_code=DENIED,
        )
    return kept


def _nobody(name: str, profiles: Profiles, *, explicit: bool) -> CommandFailed:
    if explicit:
        there = ", ".join(sorted(profiles.places)) or "none"
        return CommandFailed(
            f"There is no profile {name} (there are: {there}).",
            hint=f"towline login --profile {name}",
            exit_code=DENIED,
        )
    return CommandFailed(
        "No API key is known.",
        hint=f"`towline login` asks for one and keeps it; or set {KEY_VARIABLE}.",
        exit_code=DENIED,
    )


@dataclass
class Profiles:
    """What the file says."""

    path: Path
    places: dict[str, Place] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Profiles:
        """Empty if there is no file; `CommandFailed` if it cannot be understood."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise CommandFailed(f"{path} cannot be read: {error.strerror}.") from None
        try:
            found: dict[str, Any] = json.loads(text)["profiles"]
            places = {
                name: Place(str(each["url"]), str(each["api_key"]), f"profile {name}")
                for name, each in found.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CommandFailed(
                f"{path} is not what `towline login` writes.", hint="delete it, and log in again."
            ) from None
        return cls(path, places)

    def keep(self, name: str, url: str, api_key: str) -> None:
        """One more, or another in its place; on the disk when this returns."""
        self.places[name] = Place(url, api_key, f"profile {name}")
        self._write()

    def forget(self, name: str) -> bool:
        """Whether there was one."""
        known = self.places.pop(name, None) is not None
        if known:
            self._write()
        return known

    def _write(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = {
            name: {"url": each.url, "api_key": each.api_key} for name, each in self.places.items()
        }
        text = json.dumps({"version": _VERSION, "profiles": entries}, indent=2) + "\n"
        handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=".credentials-")  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(part).replace(self.path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise


def is_exposed(path: Path) -> bool:
    """Whether others than its owner may read or change it."""
    if os.name != "posix":
        return False
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False

"""What the embedded service reads from its environment, and what it tells its children.

Every variable is declared in `shared/settings.py`; here is only what embedded mode
adds to it: the broker's URL, a secret that is made once, and absolute paths.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.embedded.failures import CannotStart
from shared.settings import SettingsError, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True)
class EmbeddedSettings:
    """The few settings that the supervisor itself looks at."""

    home: Path
    host: str
    port: int
    redis_url: str | None  #: None: start a broker
    given_public_url: str = ""
    engines: tuple[str, ...] = ("warp",)
    model_dir: Path | None = None

    @classmethod
    def read(cls) -> EmbeddedSettings:
        """From the environment; `CannotStart` names every variable that is wrong."""
        try:
            settings = read_settings()
        except SettingsError as error:
            raise CannotStart("; ".join(str(error).splitlines())) from None
        if settings.model_dir is not None and not settings.model_dir.expanduser().is_dir():
            raise CannotStart(f"TOWLINE_MODEL_DIR: there is no folder {settings.model_dir}")
        given = "redis_url" in settings.model_fields_set
        return cls(
            home=settings.home.expanduser().absolute(),
            host=settings.host,
            port=settings.port,
            redis_url=settings.redis_url.get_secret_value() if given else None,
            given_public_url=settings.public_url.rstrip("/"),
            engines=settings.engines,
            model_dir=settings.model_dir and settings.model_dir.expanduser().absolute(),
        )

    @property
    def local_url(self) -> str:
        """Where this machine reaches the API, whatever address it listens on."""
        host = EVERY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def public_url(self) -> str:
        """Where clients reach the API."""
        return self.given_public_url or self.local_url


def child_environment(
    settings: EmbeddedSettings,
    *,
    redis_url: str,
    secret_key: str,
    given: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The environment of every child: what the user set wins over what is made here."""
    made = {
        "TOWLINE_DATABASE_URL": f"sqlite:///{settings.home / 'towline.db'}",
        "TOWLINE_SECRET_KEY": secret_key,
        "TOWLINE_PUBLIC_URL": settings.public_url,
        "TOWLINE_ENGINES": ",".join(settings.engines),
        "PYTHONUNBUFFERED": "1",
    }
    decided = {
        "TOWLINE_HOME": str(settings.home),
        "TOWLINE_HOST": settings.host,
        "TOWLINE_PORT": str(settings.port),
        "TOWLINE_REDIS_URL": redis_url,
    }
    if settings.model_dir is not None:
        decided["TOWLINE_MODEL_DIR"] = str(settings.model_dir)
    return made | {name: value for name, value in given.items() if value} | decided

"""The client, both forms of it, on the fake and on the real service."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.client.blocking import Blocking
from tests.integration.conftest import service, start_any_service  # noqa: F401
from towline import Towline
from towline.testing import FakeTowline

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMS: dict[str, Callable[..., Any]] = {"sync": Towline, "async": Blocking}


@dataclass
class Place:
    """A service, and how clients of it are made."""

    make: Callable[..., Any]
    options: dict[str, Any]
    fake: FakeTowline | None

    def client(self, **options: Any) -> Any:
        return self.make(**{**self.options, **options})


@pytest.fixture(params=["sync", "async"])
def form(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`Towline`, or `AsyncTowline` with its methods."""
    return FORMS[request.param]


@pytest.fixture
def fake() -> FakeTowline:
    return FakeTowline()


@pytest.fixture
def faked(form: Callable[..., Any], fake: FakeTowline) -> Iterator[Any]:
    """A client of the fake."""
    with form("https://towline.test", "tow_a_b", transport=fake) as client:
        yield client


@pytest.fixture(params=["fake", pytest.param("service", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, form: Callable[..., Any]) -> Place:
    """The fake, and the real service with its worker: no test can tell them apart."""
    if request.param == "fake":
        fake = FakeTowline()
        return Place(form, {"api_key": "tow_a_b", "transport": fake}, fake)
    real = request.getfixturevalue("service")
    kind = httpx.HTTPTransport if form is Towline else httpx.AsyncHTTPTransport
    options = {"base_url": real.url, "api_key": real.key}
    return Place(lambda **given: form(**{"transport": kind(), **given}), options, None)


@pytest.fixture
def client(place: Place) -> Iterator[Any]:
    with place.client() as client:
        yield client


def noise(width: int, height: int = 48, seed: int | None = None) -> bytes:
    """A PNG that nobody has; it has about `3 * width * height` bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


SMALL, MIDDLE, LARGE = (64, 48), (240, 240), (800, 800)  #: 9 kB, 173 kB, 1.9 MB
DRAG = ((20, 20), (28, 20))

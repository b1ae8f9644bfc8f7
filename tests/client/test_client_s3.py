"""Large pictures and a real S3 server: the API never sees their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from shared.services import Services
from tests.client.conftest import LARGE, noise
from tests.client.harm import done_but_reset, reset
from tests.servers.s3_proxy import S3Proxy, cut_short, overloaded
from towline import Towline

pytestmark = pytest.mark.slow
API = "http://api.test"


class Places(httpx.BaseTransport):
    """The API in this process; everything else over the network. Counts what the API is sent."""

    def __init__(self, app: Any) -> None:
        self._api, self._network = httpx.WSGITransport(app), httpx.HTTPTransport()
        self.api_bytes = 0
        self.elsewhere: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.test":
            self.api_bytes += len(request.read())
            return self._api.handle_request(request)
        assert "Authorization" not in request.headers
        self.elsewhere.append(f"{request.method} {request.headers.get('Range', 'all')}")
        return self._network.handle_request(request)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def services(build: Callable[..., Services], s3: dict[str, Any], proxy: S3Proxy) -> Services:
    """Clients go through the proxy, the API does not."""
    return build(**s3 | {"s3_public_url": proxy.url})


@pytest.fixture
def places(services: Services) -> Places:
    return Places(create_app(services))


@pytest.fixture
def client(services: Services, places: Places) -> Iterator[Towline]:
    key = services.accounts.create_key("client").text
    with Towline(API, key, transport=places) as client:
        yield client


def test_a_large_picture_goes_past_the_api(
    client: Towline, places: Places, proxy: S3Proxy, services: Services
) -> None:
    data = noise(*LARGE)
    proxy.behave(reset, overloaded, done_but_reset)
    image = client.images.upload(data)
    assert places.elsewhere == ["PUT all"] * 4
    assert places.api_bytes < 1000
    assert len(list(services.objects.walk("", "", 9))) == 1
    assert client.images.upload(data).id == image.id
    assert len(places.elsewhere) == 4
    assert places.api_bytes < 2000


def test_a_download_goes_on_where_the_object_storage_cut_it_off(
    client: Towline, places: Places, proxy: S3Proxy, tmp_path: Path
) -> None:
    data = noise(*LARGE)
    image = client.images.upload(data)
    places.elsewhere.clear()
    proxy.behave(cut_short, cut_short)
    path = client.download(image.url, tmp_path / "out.png", sha256=image.sha256)
    assert path.read_bytes() == data
    half = len(data) // 2
    more = half + (len(data) - half) // 2
    assert places.elsewhere == ["GET all", f"GET bytes={half}-", f"GET bytes={more}-"]

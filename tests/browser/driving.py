"""The studio's page as a user has it in hand: where to press, and what it then says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from shared.imaging import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.integration.embedded.running import EmbeddedService

#: Where the pure red of the picture is on the screen: the middle of it, in CSS pixels.
FIND_RED = """() => {
  const canvas = document.getElementById("canvas");
  const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let [n, x, y] = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) {
    const weight = Math.max(0, data[i] - data[i + 1] - 100);
    n += weight;
    x += weight * ((i / 4) % width + 0.5);
    y += weight * (Math.floor(i / 4 / width) + 0.5);
  }
  const box = canvas.getBoundingClientRect();
  const ratio = canvas.width / box.width;
  return n ? [box.left + x / n / ratio, box.top + y / n / ratio] : null;
}"""
WAIT_MS = 30_000


def marked(width: int, height: int, x: int, y: int) -> NDArray[np.uint8]:
    """Grey noise, and a red mark of 3 x 3 pixels around (x, y)."""
    grey_HW = np.random.default_rng(3).integers(90, 166, (height, width), dtype=np.uint8)
    picture_HWC = np.dstack([grey_HW] * 3)
    picture_HWC[y - 1 : y + 2, x - 1 : x + 2] = (255, 0, 0)
    return picture_HWC


class Studio:
    """One tab."""

    def __init__(self, page: Any, service: EmbeddedService) -> None:
        self.page = page
        self.url = f"{service.url}/studio"
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self.sent: list[tuple[str, Any]] = []  #: path and body of each JSON that was posted
        page.set_default_timeout(WAIT_MS)
        page.on("request", self._remember)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._listen)

    def open(self, key: str) -> None:
        self.page.goto(f"{self.url}#key={key}" if key else self.url)

    def shows(self, selector: str) -> None:
        self.page.wait_for_selector(selector, state="visible")

    def take(self, data: bytes, content_type: str = "image/png") -> None:
        """Choose a file."""
        self.shows("#picture-step")
        file = {"name": "picture", "mimeType": content_type, "buffer": data}
        self.page.set_input_files("#file", file)
        self.shows("#work-step")
        self.page.wait_for_function(f"() => ({FIND_RED})() !== null")

    def take_marked(self, x: int = 60, y: int = 45) -> tuple[float, float]:
        """A picture of 120 x 90 with a mark at (x, y); where that is on the screen."""
        self.take(encode(marked(120, 90, x, y), "png"))
        return self.mark()

    def mark(self) -> tuple[float, float]:
        x, y = self.page.evaluate(FIND_RED)
        return x, y

    def pull(self, start: tuple[float, float], by: tuple[float, float]) -> None:
        """Press, move in a few steps, let go; the screen's pixels."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(start[0] + by[0], start[1] + by[1], steps=4)
        mouse.up()

    def settle(self) -> None:
        """Until the server has been asked, and has answered, about the edit as it is."""
        self.page.wait_for_selector("#stage[aria-busy=false]")

    @property
    def drags(self) -> list[list[float]]:
        """The numbers in the list: handle x, y, target x, y."""
        rows = self.page.query_selector_all("#drags li")
        return [[float(f.input_value()) for f in row.query_selector_all("input")] for row in rows]

    def last_sent(self, path: str) -> Any:
        return [body for sent_to, body in self.sent if sent_to == path][-1]

    def run(self) -> None:
        """Press "Edit" and wait for the result."""
        self.settle()
        self.page.wait_for_selector("#run:not([disabled])")
        self.page.click("#run")
        self.shows("#compare")

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def _remember(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https"):
            self.hosts.add(address.netloc)
        if request.method == "POST" and "json" in request.headers.get("content-type", ""):
            self.sent.append((address.path, json.loads(request.post_data)))

    def _listen(self, message: Any) -> None:
        """Violations of the policy are said here; an answer that is a refusal is no complaint."""
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

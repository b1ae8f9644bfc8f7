"""An API that "edits" by painting the middle of the mask; `STANDIN_API` makes it wrong."""

import hashlib
import io
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

BEHAVIOUR = os.environ.get("STANDIN_API", "")
HOST, PORT = os.environ["TOWLINE_HOST"], int(os.environ["TOWLINE_PORT"])
KEY = "tow_standin_secret"


def edit(source: bytes) -> bytes:
    """The sample picture with a square in its mask (or where it must not be)."""
    with Image.open(io.BytesIO(source)) as picture:
        edited = picture.convert("RGB")
    corner = (0, 0, 5, 5) if BEHAVIOUR == "outside" else (165, 110, 170, 115)
    if BEHAVIOUR != "unchanged":
        edited.paste((255, 0, 0), corner)
    out = io.BytesIO()
    edited.save(out, "PNG")
    return out.getvalue()


class Handler(BaseHTTPRequestHandler):
    images: list[bytes] = []
    jobs = 0

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.answer(503 if BEHAVIOUR == "never ready" else 200, {"status": "ok"})
        elif self.path.startswith("/result"):
            self.send(200, "image/png", edit(self.images[0]))
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, {"code": "unauthorized"})
        elif self.path.startswith("/v1/jobs/"):
            self.answer(200, self.job())
        else:
            self.answer(200, {"data": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/images":
            self.images.append(body)
            self.answer(201, {"id": f"img_{len(self.images)}"})
        else:
            self.answer(202, {"id": "job_1", "status": "queued"})

    def job(self) -> dict[str, object]:
        if BEHAVIOUR == "never done":
            return {"id": "job_1", "status": "running"}
        if BEHAVIOUR == "failed":
            return {"id": "job_1", "status": "failed", "error": {"code": "engine_failed"}}
        sha256 = hashlib.sha256(edit(self.images[0])).hexdigest()
        url = f"{os.environ['TOWLINE_PUBLIC_URL']}/result?signature=x"
        candidate = {"url": url, "sha256": "0" * 64 if BEHAVIOUR == "other bytes" else sha256}
        return {"id": "job_1", "status": "succeeded", "result": {"candidates": [candidate]}}

    def answer(self, status: int, body: dict[str, object]) -> None:
        self.send(status, "application/json", json.dumps(body).encode())

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if sys.argv[1:] == ["key", "create", "--account", "local"]:
    print(KEY)
    sys.exit()
if BEHAVIOUR == "broken":
    sys.exit("this API cannot start")
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
if os.fork() == 0:  # like gunicorn: a worker that outlives a killed master for a while
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pause()
ThreadingHTTPServer((HOST, PORT), Handler).serve_forever()

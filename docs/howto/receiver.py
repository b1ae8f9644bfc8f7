"""A whole receiver of webhooks: `WEBHOOK_SECRET=whsec_... python receiver.py PORT`.

It needs `pip install standardwebhooks` and nothing of Towline's. In service: behind a server
that speaks TLS, and with ids kept where they outlive the process.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BYTES = 20_000
webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), MAX_BYTES))
        try:
            event = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.answer(400)  # not ours, changed on its way, or old
            return
        self.answer(204)  # first the answer, then the work
        if self.headers["webhook-id"] not in seen:  # a message may come twice
            seen.add(self.headers["webhook-id"])
            print(event["type"], event["data"].get("id"), flush=True)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()

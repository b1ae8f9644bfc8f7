"""A receiver of webhooks in a container: prints what it accepts, with type, job and webhook id."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])


class Receiver(BaseHTTPRequestHandler):
    """204 for what is signed, 400 for anything else."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_response(400)
        else:
            self.send_response(204)
            message = self.headers["webhook-id"]
            sys.stdout.write(f"accepted {event['type']} {event['data'].get('id')} {message}\n")
            sys.stdout.flush()
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: standard output is for what was accepted."""


ThreadingHTTPServer(("0.0.0.0", 9000), Receiver).serve_forever()  # noqa: S104

"""`towline webhooks listen`: a receiver on this machine that verifies and prints.

It is for trying things out. A service sends to https and to public addresses alone unless its
operator allows more (docs/howto/receive-webhooks.md).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from towline import WebhookEvent, WebhookVerificationError, verify_webhook
from towline.cli.failures import USAGE, CommandFailed
from towline.cli.session import Session, common, pass_session
from towline.cli.terminal import Terminal

LARGEST_BYTES = 2**20
SILENCE_S = 15.0


@click.group()
def webhooks() -> None:
    """Try out webhooks."""


@webhooks.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8099,
    show_default=True,
    help="0: any that is free.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--secret-env", metavar="NAME", help="The variable that holds the secret.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that holds the secret; two lines while it is being rotated.",
)
@click.option("--count", "-n", type=click.IntRange(1), help="End after so many events.")
@common
@pass_session
def listen(
    session: Session,
    port: int,
    host: str,
    secret_env: str | None,
    secret_file: Path | None,
    count: int | None,
) -> None:
    """Receive events here: each is verified, and printed as a line. Ctrl-C ends it.

    Without a secret, the account's is asked for (that of jobs' own `webhook` URLs), which needs a
    key with the scope admin. An event that is not signed by it is answered 401, any other 204.
    """
    secrets = _secrets(session, secret_env, secret_file)
    inbox = _Inbox(session.terminal, secrets, count)
    try:
        server = ThreadingHTTPServer((host, port), _handler(inbox))
    except OSError as error:
        raise CommandFailed(
            f"Cannot listen on {host}:{port}: {error.strerror}.",
            hint="choose another --port.",
            exit_code=USAGE,
        ) from None
    server.daemon_threads = True
    url = f"http://{host}:{server.server_port}/"
    session.terminal.tell({"listening": url}, f"listening on {url} until Ctrl-C")
    inbox.close = lambda: threading.Thread(target=server.shutdown, daemon=True).start()
    with server:
        server.serve_forever(poll_interval=0.1)


def _secrets(session: Session, name: str | None, path: Path | None) -> list[str]:
    if name and path:
        raise click.UsageError("Give --secret-env or --secret-file, not both.")
    if name is not None:
        text = os.environ.get(name, "")
    elif path is not None:
        text = path.read_text(encoding="utf-8")
    else:
        with session.client() as client:
            text = client.webhook_secret.get().secret
    secrets = text.split()
    if not secrets:
        where = name or path
        raise CommandFailed(f"There is no secret in {where}.", exit_code=USAGE)
    try:
        verify_webhook(b"", _NOBODYS, secrets)
    except WebhookVerificationError:
        return secrets  # they can be used, and nothing else was asked
    except ValueError as error:
        raise CommandFailed(f"The secret cannot be used: {error}.", exit_code=USAGE) from None
    return secrets


_NOBODYS = {"webhook-id": "none", "webhook-timestamp": "0", "webhook-signature": "v1,AA=="}


class _Inbox:
    """What came, and when it is enough."""

    def __init__(self, terminal: Terminal, secrets: list[str], count: int | None) -> None:
        self._terminal, self._secrets, self._left = terminal, secrets, count
        self._seen: dict[str, None] = {}
        self._lock = threading.Lock()
        self.close: Callable[[], None] = lambda: None

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        """The status to answer with."""
        try:
            event = verify_webhook(body, headers, self._secrets)
        except WebhookVerificationError as error:
            with self._lock:
                self._terminal.warn(f"refused: {error}")
            return 401
        with self._lock:
            self._print(event)
            self._remember(event.id)
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    self.close()
        return 204

    def _remember(self, event_id: str) -> None:
        self._seen[event_id] = None
        if len(self._seen) > 10_000:
            del self._seen[next(iter(self._seen))]

    def _print(self, event: WebhookEvent) -> None:
        if self._terminal.is_json:
            self._terminal.json({**event.raw, "id": event.id})
            return
        about = event.data.get("id", "")
        error = event.data.get("error") or {}
        told = [time.strftime("%H:%M:%S"), event.type, str(about), str(error.get("code") or "")]
        again = "(again)" if event.id in self._seen else ""
        self._terminal.out("  ".join(each for each in [*told, again] if each))


def _handler(inbox: _Inbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SILENCE_S

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()):
                self._end(411)
            elif int(length) > LARGEST_BYTES:
                self._end(413)
            else:
                body = self.rfile.read(int(length))
                if len(body) == int(length):
                    self._end(inbox.take(body, dict(self.headers.items())))

        def _end(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if status in (411, 413):
                self.send_header("Connection", "close")
            self.end_headers()

        def version_string(self) -> str:
            return "towline"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Events are told, requests are not."""

    return Handler

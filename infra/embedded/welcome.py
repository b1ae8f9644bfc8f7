"""What the terminal shows when everything runs: where things are, and how to go on."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from infra.embedded.terminal import show, shown

if TYPE_CHECKING:
    from infra.embedded.home import Home
    from infra.embedded.sample_edit import SampleEdit

PAGE = """\
  A cat's eye was just made larger, through Towline's own HTTP API:

    picture  {file}
    as URL   {url}

    docs     {base_url}/docs
    studio   {base_url}/studio#key={key}
    key      {key}
             (kept in {key_file})

  The same edit again, with curl:

{curl}

  {end} What it knows stays in {home}."""


def welcome(home: Home, base_url: str, key: str, edit: SampleEdit, *, stays: bool) -> None:
    """Show it all; `stays` is whether the service goes on running."""
    show(
        PAGE.format(
            file=shown(home.sample_result),
            url=edit.url,
            base_url=base_url,
            key=key,
            key_file=shown(home.key),
            curl=curl_example(base_url, key, edit),
            end="It stays up until Ctrl-C." if stays else "It ends now, as it was asked to.",
            home=shown(home.root),
        )
    )


def curl_example(base_url: str, key: str, edit: SampleEdit) -> str:
    """A command to copy; it waits for the job and prints it."""
    return " \\\n      ".join(
        (
            f"    curl -sS {base_url}/v1/jobs",
            f"-H {shlex.quote(f'Authorization: Bearer {key}')}",
            "-H 'Content-Type: application/json' -H 'Prefer: wait=30'",
            f"-d {shlex.quote(json.dumps(edit.request))}",
        )
    )

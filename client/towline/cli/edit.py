"""`towline edit`: one picture, from the upload to the file.

Ctrl-C cancels the job; a second one leaves it running. Where the answer to the submission had not
come yet, it is asked for again with the same idempotency key, so that what is canceled is that job
and no other one is made.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click

from towline import Image, Job, Timeouts, Towline, TowlineError
from towline import edit as body_of
from towline.cli.failures import FAILED, INTERRUPTED, CommandFailed
from towline.cli.jobs import tell
from towline.cli.parameters import DRAG, LABEL, OPTION, POLYGON, RECT
from towline.cli.pictures import format_of, numbered, save
from towline.cli.session import Session, common, pass_session
from towline.cli.watching import showing, watch
from towline.inputs import Priority

FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
CANCEL_S = 10.0


@click.command()
@click.argument("picture", type=FILE)
@click.option(
    "--drag",
    "drags",
    type=DRAG,
    multiple=True,
    required=True,
    help="What lies at the first point goes to the second; as often as you like.",
)
@click.option("--mask", type=FILE, help="A picture: white may change.")
@click.option("--rect", type=RECT, help="A rectangle that may change, in place of --mask.")
@click.option("--polygon", type=POLYGON, help="An outline that may change, in place of --mask.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the picture goes; its suffix is the format (.png, .webp, .jpg).",
)
@click.option("--force", is_flag=True, help="Without -o: replace the file that is there.")
@click.option("--engine", metavar="NAME", help="See `towline engines`.")
@click.option("--seed", type=click.IntRange(0, 2**53 - 1), help="The same seed, the same picture.")
@click.option(
    "--candidates", type=click.IntRange(1, 8), help="How many pictures: out-0.png, out-1.png, ..."
)
@click.option(
    "--option",
    "options",
    type=OPTION,
    multiple=True,
    help="Any option of the engine; see `towline engines`.",
)
@click.option("--priority", type=click.Choice(get_args(Priority)))
@click.option("--timeout-s", type=click.IntRange(1), help="How long the job may run.")
@click.option("--metadata", type=LABEL, multiple=True, help="A pair that is kept with the job.")
@click.option("--no-wait", is_flag=True, help="Print the job's id, and leave.")
@common
@pass_session
def edit(
    session: Session,
    /,
    picture: Path,
    mask: Path | None,
    output: Path | None,
    force: bool,
    no_wait: bool,
    **asked: Any,
) -> int:
    """Edit a picture: submit, wait with progress, save.

    \b
    towline edit photo.jpg --drag 120,80:150,60 --mask mask.png -o out.png
    """
    output, options = _output(picture, output, force=force, asked=asked)
    shape = _only_one(mask=mask, rect=asked["rect"], polygon=asked["polygon"])
    with session.client() as client:
        work = _Edit(session, client)
        try:
            with showing(session.terminal) as shown:
                shown.say(f"uploading {picture.name}")
                image = client.images.upload(picture)
                job = work.submit(
                    body_of(
                        image,
                        asked["drags"],
                        mask=_upload_mask(client, shape),
                        engine=asked["engine"],
                        options=options,
                        priority=asked["priority"],
                        timeout_s=asked["timeout_s"],
                        metadata=dict(asked["metadata"]),
                    )
                )
                if not no_wait:
                    job = watch(session.terminal, client, job, shown)
        except KeyboardInterrupt:
            work.cancel()
            raise
        files = save(client, job, output) if job.status == "succeeded" else []
        if no_wait and not session.terminal.is_json:
            session.terminal.out(job.id)
        else:
            tell(session.terminal, job, files)
        return FAILED if job.is_final and job.status != "succeeded" else 0


class _Edit:
    """The job of this command, if there is one, and how it is stopped."""

    def __init__(self, session: Session, client: Towline) -> None:
        self._session, self._client = session, client
        self._key = str(uuid.uuid4())
        self._body: Mapping[str, Any] | None = None
        self._job: Job | None = None

    def submit(self, body: Mapping[str, Any]) -> Job:
        self._body = body
        self._job = self._client.jobs.create_from(body, idempotency_key=self._key)
        return self._job

    def cancel(self) -> None:
        """`CommandFailed` once it is canceled, or known that it is not."""
        if self._body is None:
            return  # nothing was submitted
        name = self._job.id if self._job else "the job"
        self._session.terminal.note(f"canceling {name} (Ctrl-C again leaves it running)")
        try:
            with self._session.client(Timeouts(call_s=CANCEL_S)) as client:
                if self._job is None:
                    self._job = client.jobs.create_from(self._body, idempotency_key=self._key)
                ended = client.jobs.wait(client.jobs.cancel(self._job), timeout=CANCEL_S)
        except (KeyboardInterrupt, TowlineError) as error:
            left = self._job.id if self._job else ""
            why = "" if isinstance(error, KeyboardInterrupt) else f" ({error})"
            raise CommandFailed(
                f"{left or 'The job'} was left as it is{why}.",
                hint=f"towline cancel {left}" if left else "`towline jobs` shows it.",
                exit_code=INTERRUPTED,
            ) from None
        raise CommandFailed(
            f"{ended.id} is {ended.status}."
            if ended.status != "succeeded"
            else f"{ended.id} had succeeded already.",
            hint="" if ended.status != "succeeded" else f"towline job {ended.id} -o FILE",
            exit_code=INTERRUPTED,
        )


def _output(
    picture: Path, output: Path | None, *, force: bool, asked: dict[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """Where to, and the options with the format that belongs to it."""
    options = dict(asked["options"])
    for name in ("seed", "candidates"):
        if asked[name] is not None:
            options[name] = asked[name]
    if output is None:
        suffix = f".{options.get('format', 'png')}".replace(".jpeg", ".jpg")
        output = Path(f"{picture.stem}-edited{suffix}")
        places = [output, numbered(output, 0)]
        taken = next((place for place in places if place.exists()), None)
        if taken is not None and not force:
            raise CommandFailed(
                f"{taken} is there already.",
                hint="name another file by -o, or give --force.",
                exit_code=2,
            )
    try:
        wanted = format_of(output)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--output") from None
    if options.setdefault("format", wanted) != wanted:
        raise click.UsageError(f"{output.name} is {wanted}, but --option format says another.")
    if not output.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {output.parent}", param_hint="--output")
    return output, options


def _only_one(**shapes: Any) -> Any:
    given = {name: value for name, value in shapes.items() if value is not None}
    if len(given) > 1:
        raise click.UsageError(f"Give one of {' and '.join(f'--{name}' for name in given)}.")
    return next(iter(given.values()), None)


def _upload_mask(client: Towline, shape: Any) -> Image | Mapping[str, Any] | None:
    return client.images.upload(shape) if isinstance(shape, Path) else shape

"""`towline batch`: many edits as one."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import get_args

import click

from towline import Batch, Towline
from towline.cli.batch.checks import Folder
from towline.cli.batch.performing import perform
from towline.cli.batch.request import MOST_LINES, Request
from towline.cli.batch.sending import is_of
from towline.cli.batch.state import State, has_state
from towline.cli.failures import FAILED, USAGE, CommandFailed
from towline.cli.jobs import ago
from towline.cli.session import Session, common, pass_session
from towline.cli.terminal import Terminal
from towline.models import BatchStatus

WHICH = "BATCH|DIR"  #: a batch's id, or the --out of a run


@click.group()
def batch() -> None:
    """Run many edits as one: a manifest in, pictures out."""


@batch.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Where the files are that the manifest names.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where pictures, results.jsonl and the state of the run go.",
)
@click.option("--skip-invalid", is_flag=True, help="Leave lines out that are not valid.")
@click.option("--follow-links", is_flag=True, help="Take files to which links in --images lead.")
@click.option("--overwrite", is_flag=True, help="Replace files that are in --out already.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="How many files are sent and fetched at once.",
)
@click.option(
    "--lines-per-batch",
    type=click.IntRange(1, MOST_LINES),
    default=MOST_LINES,
    show_default=True,
    help="A longer manifest becomes several batches.",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=300,
    show_default=True,
    help="Seconds that a service which does not answer is waited for.",
)
@common
@pass_session
def run(
    session: Session,
    manifest: Path,
    images: Path,
    out: Path,
    skip_invalid: bool,
    follow_links: bool,
    overwrite: bool,
    parallel: int,
    lines_per_batch: int,
    patience: int,
) -> int:
    """Run a manifest (.jsonl or .csv): upload, submit, fetch the pictures as they come.

    The same command again goes on where it was stopped, by Ctrl-C, a crash or a reboot. Nothing is
    submitted twice.

    \b
    towline batch run manifest.csv --images photos/ --out edited/
    """
    request = Request(
        manifest, Folder(images, follow_links), out, skips_invalid=skip_invalid,
        overwrites=overwrite, parallel=parallel, away_s=patience,
        lines_per_batch=lines_per_batch,
    )  # fmt: skip
    return perform(session, request)


@batch.command()
@click.argument("which", metavar=WHICH)
@click.option("--wait", "-w", is_flag=True, help="Wait for its end.")
@common
@pass_session
def status(session: Session, which: str, wait: bool) -> int:
    """Show how far a batch is, or the batches of a run."""
    failed = False
    with session.client() as client:
        for batch_id in _ids(session, client, which):
            found = client.batches.get(batch_id)
            if wait:
                found = client.batches.wait(found, timeout=None)
            _tell(session.terminal, found)
            failed |= found.is_final and found.counts.succeeded < found.counts.total
            failed |= found.status == "rejected"
    return FAILED if failed else 0


@batch.command()
@click.argument("which", metavar=WHICH)
@common
@pass_session
def cancel(session: Session, which: str) -> None:
    """Cancel what of a batch, or of a run, has not ended."""
    with session.client() as client:
        for batch_id in _ids(session, client, which):
            _tell(session.terminal, client.batches.cancel(batch_id))


@batch.command()
@click.argument("which", metavar=WHICH)
@click.option("--parallel", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option("--patience", type=click.IntRange(0), default=300, show_default=True)
@common
@pass_session
def retry(session: Session, which: str, parallel: int, patience: int) -> int:
    """Run what failed or expired once more; of a run, fetch the pictures too."""
    if _is_run(which):
        request = Request(None, None, Path(which), parallel=parallel, away_s=patience)
        return perform(session, request, retries=True)
    with session.client() as client:
        _tell(session.terminal, client.batches.retry(which))
    return 0


@batch.command("list")
@click.option("--status", type=click.Choice(get_args(BatchStatus)), help="Those alone.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True)
@common
@pass_session
def list_(session: Session, status: BatchStatus | None, limit: int) -> None:
    """List batches, newest first."""
    terminal = session.terminal
    with session.client() as client:
        found = islice(client.batches.list(status=status, page_size=min(limit, 200)), limit)
        if terminal.is_json:
            for each in found:
                terminal.json(each.raw)
            return
        rows = [
            (each.id, each.status, ago(each.created_at), f"{each.counts.succeeded:,}",
             f"{each.counts.failed + each.counts.expired:,}", f"{each.counts.total:,}")
            for each in found
        ]  # fmt: skip
    terminal.table(("BATCH", "STATUS", "CREATED", "SUCCEEDED", "FAILED", "TOTAL"), rows)


@batch.command()
@click.argument("batch_id", metavar="BATCH")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True)
@common
@pass_session
def archive(session: Session, batch_id: str, output: Path) -> None:
    """Fetch all pictures of a batch and results.jsonl as one ZIP file."""
    with session.client() as client:
        client.batches.archive(batch_id, output, timeout=86_400)
    if session.terminal.is_json:
        session.terminal.json({"batch": batch_id, "file": str(output)})
    else:
        session.terminal.out(str(output))


def _is_run(which: str) -> bool:
    if Path(which).is_dir():
        if not has_state(Path(which)):
            raise CommandFailed(
                f"No run was begun in {which}.",
                hint="name a batch, or the --out of a run.",
                exit_code=USAGE,
            )
        return True
    return False


def _ids(session: Session, client: Towline, which: str) -> list[str]:
    """The batches that are meant."""
    if not _is_run(which):
        return [which]
    with State.open(Path(which)) as state:
        parts = state.parts.all()
        lost = [part for part in parts if part.key is not None and part.batch_id is None]
        found = [is_of(state, part) for part in lost]
    ids = [part.batch_id for part in parts if part.batch_id is not None]
    if lost:  # killed between sending and the answer
        listed = client.batches.list()
        ids += [each.id for each in listed if any(is_it(each) for is_it in found)]
    if not ids:
        raise CommandFailed(f"Nothing of the run in {which} was sent.")
    return ids


def _tell(terminal: Terminal, batch: Batch) -> None:
    if terminal.is_json:
        terminal.json(batch.raw)
        return
    counts = batch.counts
    names = ("queued", "running", "succeeded", "failed", "canceled", "expired", "invalid")
    told = [f"{getattr(counts, name):,} {name}" for name in names if getattr(counts, name)]
    if batch.status == "validating" and batch.lines is not None:
        told = [f"{batch.lines.read:,} lines read"]
    terminal.out(f"{batch.id}  {batch.status}  {', '.join(told)} (of {counts.total:,})")
    if batch.retried_from:
        terminal.out(f"  what failed of {batch.retried_from}")
    for error in batch.errors[:20]:
        name = f" {error.custom_id}" if error.custom_id else ""
        terminal.out(f"  line {error.line}{name}: {error.pointer} {error.detail} ({error.code})")
    if len(batch.errors) > 20:
        terminal.out(f"  ... and {len(batch.errors) - 20:,} more (--json shows them)")

"""From one version to the next, under load, by the commands of docs/howto/grow.md.

The version before is this tree; the next is a copy of it with two migrations more (a column, and an
index of a big table), code that writes the column, and a number of its own. In between, old
code runs on the new schema. Nothing may be refused, and every job ends once and is told of.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.compose.load import Load
from tests.compose.stack import PAGE, ROOT, Stack, picture, step, wait_for_ends, wait_for_webhooks

BEFORE, NEXT = "upgrade-before", "upgrade-next"
SETTLE_S = 6.0  #: under load, before the first command and after each
MIGRATION = '''"""What the next version needs"""

import sqlalchemy as sa
from alembic import op

from shared.migrations import online

revision = {revision!r}
down_revision = {before!r}


def upgrade() -> None:
    {change}


def downgrade() -> None:
    pass
'''
CHANGES = (
    "op.add_column('jobs', sa.Column('made_by', sa.String(20), nullable=True))",
    "online.create_index('ix_jobs_made_by', 'jobs', ['made_by'])",
)


def upgrade(stack: Stack, per_s: float) -> None:
    """All of it but the end."""
    stack.env["VERSION"] = BEFORE
    with step("build the version before"):
        stack.compose("build", "api", "worker-warp")
    with step("build the next version"), tempfile.TemporaryDirectory() as name:
        _build_next(stack, _next_version(Path(name) / "next"))
    with step("up, until healthy"):
        stack.compose("up", "-d", "--wait", "--wait-timeout", "300")
    with stack.client() as client:
        stack.receiver(client)
        load = Load(str(client.base_url), dict(client.headers), picture(client), per_s)
        with load.going_on():
            time.sleep(SETTLE_S)
            stack.env["VERSION"] = NEXT
            for command in commands():
                with step(command):
                    stack.run(*command.split())
                if load.refused:
                    break
                taken = len(load.jobs)
                time.sleep(SETTLE_S)
                print(f"  {len(load.jobs) - taken} jobs taken since", flush=True)
                assert len(load.jobs) > taken, "nothing was taken any more"
        print(load.said(), flush=True)
        assert not load.refused, f"refused: {len(load.refused)}\n" + "\n".join(load.refused[:20])
        images = stack.compose("ps", "--format", "{{.Service}} {{.Image}}")
        assert BEFORE not in re.sub(r"receiver .*", "", images), images
        with step(f"all {len(load.jobs)} jobs end"):
            states = wait_for_ends(client, load.jobs, 600)
            assert set(states.values()) == {"succeeded"}, Counter(states.values())
        with step("all webhooks arrive"):
            wait_for_webhooks(stack, client, load.jobs, 300)
        _judge(stack, load)
        with step("`up` finds nothing to do"):
            before = stack.compose("ps", "-q")
            stack.compose("up", "-d", "--wait", WEBHOOK_SECRET="-")
            assert stack.compose("ps", "-q") == before


def commands() -> list[str]:
    """Those of the page, as they stand there."""
    section = PAGE.read_text("utf-8").partition("## Upgrade")[2].partition("\n## ")[0]
    found = re.findall(r"^    (docker compose .*?)(?:  #.*)?$", section, re.MULTILINE)
    return [command for command in found if "build" not in command and "pull" not in command]


def _next_version(tree: Path) -> Path:
    """A copy of what images are made of, one version on."""
    for name in ("shared", "api", "worker", "infra/docker"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", ".dockerignore"):
        shutil.copy(ROOT / name, tree / name)
    versions = tree / "shared" / "migrations" / "versions"
    before = max(path.name for path in versions.glob("[0-9]*.py")).partition("_")[0]
    for number, change in enumerate(CHANGES):
        revision = f"9{number:03}"
        text = MIGRATION.format(revision=revision, before=before, change=change)
        (versions / f"{revision}_next.py").write_text(text, "utf-8")
        before = revision
    _replace(
        tree / "shared" / "jobs" / "tables.py",
        "    # Times\n",
        f'    Column("made_by", String(20), default="{NEXT}"),\n    # Times\n',
    )
    _replace(tree / "shared" / "__init__.py", "__version__ =", '__version__ = "99.0"\n_before =')
    return tree


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{path}: {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


def _build_next(stack: Stack, tree: Path) -> None:
    """As `docker compose build` would, were the tree here."""
    for image in ("api", "worker"):
        arguments = ["--build-arg", f"VERSION={NEXT}", "-t", f"towline/{image}:{NEXT}"]
        if image == "worker":
            arguments += ["--target", "cpu"]
        dockerfile = str(tree / "infra" / "docker" / f"{image}.Dockerfile")
        stack.run("docker", "build", "-q", *arguments, "-f", dockerfile, str(tree))


def _judge(stack: Stack, load: Load) -> None:
    """What the database and the receiver know of it."""
    made_by = stack.counts("SELECT coalesce(made_by, 'before'), count(*) FROM jobs GROUP BY 1")
    print(f"  jobs by version: {made_by}")
    assert sum(made_by.values()) == len(load.jobs), "more jobs than were asked for"
    assert made_by["before"], "the version before took no job"
    assert made_by[NEXT], "the next version took no job"
    ends = stack.counts(
        "SELECT job_id, count(*) FROM job_events"
        " WHERE data->>'status' IN ('succeeded', 'failed', 'canceled', 'expired') GROUP BY 1",
    )
    assert set(ends.values()) == {1}, {job: n for job, n in ends.items() if n != 1}
    assert len(ends) == len(load.jobs)
    again = stack.counts("SELECT 'attempt ' || attempt, count(*) FROM jobs GROUP BY 1")
    lost = stack.counts("SELECT 'lost', count(*) FROM jobs WHERE losses > 0")
    print(f"  {again}, leases that ran out: {lost['lost']}")
    assert lost["lost"] == 0
    told = Counter(stack.told())
    print(f"  webhooks: {len(told)} messages, {sum(told.values()) - len(told)} came twice")

"""The command line `towline`. It needs the extra `cli`: `pip install './client[cli]'`.

app.py        the commands, and what an error becomes
session.py    who asks, whom, and where answers are shown
batch/        manifests, and the run that goes on wherever it was stopped
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("click", "rich")


def main() -> None:
    """Run the command that was typed; ends the process with its exit code."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"towline: the command line needs {' and '.join(missing)}: "
            "python -m pip install './client[cli]' (in Towline's repository)"
        )
    from towline.cli.app import run

    sys.exit(run(sys.argv[1:]))

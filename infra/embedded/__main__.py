"""`python -m infra.embedded [--once]`: the whole service, one command, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys

from infra.embedded.failures import EmbeddedFailure
from infra.embedded.stop import StopSignals
from infra.embedded.terminal import complain


def main() -> int:
    """The exit status; whatever goes wrong is one clear line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m infra.embedded", description=__doc__)
    parser.add_argument(
        "--once", action="store_true", help="end after the sample: 0 only if its picture is right"
    )
    arguments = parser.parse_args()
    os.umask(0o077)
    stop = StopSignals()
    stop.listen()
    try:
        # Only now: a Ctrl-C during these imports, too, ends the service in good order.
        from infra.embedded.service import run

        return run(stop, once=arguments.once)
    except EmbeddedFailure as failure:
        complain(failure)
    except OSError as error:  # a disk that is full or read-only, a folder without rights
        where = f"{error.filename}: " if error.filename else ""
        complain(EmbeddedFailure(f"{where}{error.strerror or error}"))
    return 1


if __name__ == "__main__":
    sys.exit(main())

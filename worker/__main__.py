"""`python -m worker run --queues warp`; also `beat`, and `model check DIR`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from celery import signals

from shared.engines import ENGINES
from shared.queue import WEBHOOKS
from shared.services import Services, build_services
from shared.settings import SettingsError, read_settings
from shared.telemetry.logging import set_up_logging
from shared.telemetry.tracing import start_tracing
from worker.app import QUEUES, run_beat, run_worker
from worker.engines.base import EngineUnusable


def main(arguments: list[str] | None = None) -> int:
    """Run a worker or beat in the foreground until SIGTERM; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="take messages and do the work")
    run.add_argument("--queues", required=True, type=_queues, help=f"of {', '.join(QUEUES)}")
    commands.add_parser("beat", help="send the sweep's message every few seconds")
    model = commands.add_parser("model", help="look at the files of a model").add_subparsers(
        dest="task", required=True
    )
    check = model.add_parser("check", help="is the folder usable, and what is its digest?")
    check.add_argument("folder", type=Path)
    check.add_argument("--scheduler", choices=("lcm", "ddim"), default="lcm")
    chosen = parser.parse_args(arguments)
    if chosen.command == "model":
        return _check_model(chosen.folder, chosen.scheduler)
    try:
        services = _services(_role(chosen.queues) if chosen.command == "run" else None)
        if chosen.command == "run" and WEBHOOKS in chosen.queues:
            _check_webhooks(services)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if chosen.command == "beat":
        run_beat(services)
        return 0
    try:
        return run_worker(services, chosen.queues)
    except EngineUnusable as error:
        print(error, file=sys.stderr)
        return 2


def _check_model(folder: Path, scheduler: str) -> int:
    """By name, since the model's libraries are only where the extra `gpu` is installed."""
    try:
        check = import_module("worker.engines.lightningdrag.check")
    except ModuleNotFoundError as error:
        install = "pip install -c constraints.txt -e '.[gpu]'"
        print(f"{error.name} is not installed; what the model needs: {install}", file=sys.stderr)
        return 2
    status: int = check.main(folder, scheduler)
    return status


def _services(role: str | None = "worker") -> Services:
    """`role`: under which name the process traces, if traces are wanted at all."""
    settings = read_settings()
    set_up_logging(settings)
    if role is not None:
        start_tracing(role)
    signals.setup_logging.connect(lambda **_: None, weak=False)  # Celery leaves the logs to us
    return build_services(settings)


def _role(queues: list[str]) -> str:
    """As `docker-compose.yml` calls them: `worker-warp`, `worker-io`."""
    return f"worker-{'-'.join(name for name in queues if name in ENGINES) or 'io'}"


def _check_webhooks(services: Services) -> None:
    """What only the workers that send webhooks need."""
    settings = services.settings
    if not settings.secret_key.get_secret_value():
        raise SettingsError(
            "TOWLINE_SECRET_KEY: must be set, the API's; it opens the secrets of webhooks"
        )
    if settings.webhook_ca_file is not None and not settings.webhook_ca_file.is_file():
        raise SettingsError(f"TOWLINE_WEBHOOK_CA_FILE: no file {settings.webhook_ca_file}")


def _queues(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in QUEUES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"no such queue: {', '.join(unknown) or text!r}")
    return names


if __name__ == "__main__":
    sys.exit(main())

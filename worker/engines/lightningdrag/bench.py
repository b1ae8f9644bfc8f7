"""`python -m worker.engines.lightningdrag.bench`: how long an edit takes here, switch by switch.

Full sizes, weights as torch makes them (the time does not depend on their values), 512 x 512, the
demo's defaults. For each variant and work: milliseconds of a pass from pictures to bytes, the
median of some; the most memory; how much of the time the counted work would take at the speed at
which this device multiplies large matrices; and how far the latents are from those of float32, with
the same weights and draws.

No variant is begun after five minutes, and after seven and a half the process ends as it is, so all
of it is done within eight. One that fails says why, and the others go on. `--tiny --device cpu`
tries the command where there is no GPU; its times say nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import diffusers
import torch

from worker.engines.lightningdrag.config import DtypeName
from worker.engines.lightningdrag.timing import (
    FULL,
    GIBI,
    TINY,
    WORK,
    Bench,
    Sizes,
    Times,
    Variant,
    variants,
)

PROGRAM = "python -m worker.engines.lightningdrag.bench"
RESULTS = Path("benchmarks/results/lightningdrag.md")
TITLES = ("variant", "work", "ms", "ms an edit", "GiB", "TFLOP", "of floor", "rel", "ready s")
BEGIN_S, END_S = 300.0, 450.0


class Outputs:
    """Lines for the screen and into a file, each of them at once."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("")

    def line(self, text: str) -> None:
        """Show and write down a line."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        if self.out is not None:
            with self.out.open("a") as file:
                file.write(f"{text}\n")

    def end_process(self) -> None:
        """The time is over, whatever is being done."""
        self.line("\nEnded before all was done: out of time.")
        os._exit(1)


def row(*cells: str) -> str:
    """A row of the table."""
    return f"| {' | '.join(cells)} |"


def timed_row(variant: str, times: Times, tflop: float) -> str:
    """What was measured, as a row."""
    return row(
        variant,
        times.work,
        f"{times.taken_ms:.1f}",
        f"{times.taken_ms / len(WORK[times.work]):.1f}",
        f"{times.gib:.2f}" if times.gib else "",
        f"{tflop:.2f}",
        f"{times.of_floor:.0%}",
        "" if times.rel is None else f"{times.rel:.1e}",
        f"{times.ready_s:.0f}",
    )


def report(bench: Bench, chosen: list[Variant], until_s: float) -> Iterator[str]:
    """The lines of the table; variants are begun until the monotonic clock says `until_s`."""
    counted = bench.counted()
    yield row(*TITLES)
    yield row(*("---" for _ in TITLES))
    for variant in chosen:
        if time.monotonic() > until_s:
            yield row(variant.name, "not begun: out of time")
            continue
        try:
            for times in bench.times(variant, counted):
                yield timed_row(variant.name, times, counted[times.work])
            failed = None
        except Exception as error:  # noqa: BLE001 - it says nothing of the other variants
            failed = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if failed is not None:  # outside of the handler, which holds what was too much
            yield row(variant.name, failed.replace("|", "/"))
        bench.forget()


def head(device: torch.device, sizes: Sizes, arguments: list[str]) -> str:
    """The command, the hardware, and what the columns are."""
    asked = ["git", "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    hardware = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        hardware = f"{gpu.name}, {gpu.total_memory / GIBI:.0f} GiB; {hardware}"
    return f"""# One edit of the lightningdrag engine

    {shlex.join([*PROGRAM.split(), *arguments])}

{hardware}. torch {torch.__version__}, CUDA {torch.version.cuda},
cuDNN {torch.backends.cudnn.version()}, diffusers {diffusers.__version__},
Python {platform.python_version()}, commit {commit or "unknown"}.

{sizes.side_px} x {sizes.side_px}, LCM, {sizes.steps} steps, guided, random weights of {sizes.name}
size.
ms: a pass, from pictures to bytes, the median of the repeats. GiB: the most that was allocated,
weights included. TFLOP: counted (`make flops`). Of floor: what the counted work would take at the
speed of large matrices, by what it took. rel: of the final latents, against the first variant,
same weights and draws. ready: to make, compile, capture. A fixed size is taken here whether it
pays or not.
"""


def main(arguments: list[str] | None = None) -> int:
    """Print the report as it is made, and write it down; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip", action="append", default=[], help="variants with this word")
    parser.add_argument("--tiny", action="store_true", help="try the command, without a GPU")
    parser.add_argument("--out", type=Path, help=f"{RESULTS}, unless tiny")
    asked = parser.parse_args(given)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        sys.stderr.write("bench: torch finds no CUDA here; --tiny --device cpu tries the command\n")
        return 2
    sizes = TINY if asked.tiny else FULL
    outputs = Outputs(asked.out or (None if asked.tiny else RESULTS))
    watchdog = threading.Timer(END_S, outputs.end_process)
    watchdog.daemon = True
    watchdog.start()
    until_s = time.monotonic() + BEGIN_S
    outputs.line(head(torch.device(asked.device), sizes, given))
    half: DtypeName = "float16" if asked.device.startswith("cuda") else "bfloat16"
    chosen = [
        each
        for each in variants(sizes, half)
        if not any(word in each.name.split(", ") for word in asked.skip)
    ]
    for line in report(Bench(asked.device, sizes, asked.repeats), chosen, until_s):
        outputs.line(line)
    watchdog.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(main())

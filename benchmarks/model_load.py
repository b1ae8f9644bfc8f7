"""How much memory it takes to load a model: is any weight held twice?

    python -m benchmarks.model_load [--shrink 2] [--out benchmarks/results/model_load.md]

Writes a model folder with random weights in the public layout, `--shrink` times narrower than the
public one, in float32 and in float16, and loads each in both precisions, in a process of its own.
Anonymous memory is what the process needs; pages of the files that it maps are the system's to
take back.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.golden.place import CHECKPOINTS
from worker.engines.lightningdrag.build import DTYPES, build_model
from worker.engines.lightningdrag.checkpoint import FILES
from worker.engines.lightningdrag.config import ModelConfig
from worker.engines.lightningdrag.flops import FULL_SIZE
from worker.engines.lightningdrag.networks import Configs, Networks, make_networks

MIB = 2**20
RANK = 64
LOOK_S = 0.002
BLOCKS = ("down_blocks", "mid_block", "up_blocks")


def shrunk(times: int) -> Configs:
    """The public sizes, in the widest networks so many times narrower."""
    channels = tuple(width // times for width in FULL_SIZE.unet["block_out_channels"])
    image = {
        name: FULL_SIZE.image[name] // times
        for name in ("hidden_size", "intermediate_size", "num_attention_heads")
    }
    return replace(
        FULL_SIZE,
        unet={**FULL_SIZE.unet, "block_out_channels": channels},
        appearance={**FULL_SIZE.appearance, "block_out_channels": channels},
        image={**FULL_SIZE.image, **image},
        point_width=FULL_SIZE.point_width // times,
    )


def write_folder(folder: Path, configs: Configs, dtype: torch.dtype) -> None:
    """A model folder: random weights, and the tiny model's tokenizer and scheduler."""
    networks = make_networks(configs)
    for name in ("unet", "appearance", "vae", "text", "image"):
        _path(folder, f"{name}_config").write_text(json.dumps(getattr(configs, name)))
        save_file(_tensors(getattr(networks, name), dtype), _path(folder, name))
    for name in ("scheduler", "vocabulary", "merges"):
        shutil.copyfile(_path(CHECKPOINTS, name), _path(folder, name))
    projections = networks.projections
    adapter = {"image_proj": networks.image_projection, "ip_adapter": projections.image}
    parts = {name: _tensors(module, dtype) for name, module in adapter.items()}
    torch.save(parts, _path(folder, "ip_adapter"))
    torch.save(_tensors(networks.points, dtype), _path(folder, "points"))
    torch.save(_tensors(projections.points, dtype), _path(folder, "point_projections"))
    save_file(_lora(networks), _path(folder, "lora"))


def _path(folder: Path, name: str) -> Path:
    """The first of a file's names; archives rather than safetensors where there is a choice."""
    file = FILES[name]
    names = [each for each in file.names if not each.endswith(".safetensors")]
    is_archive = name in ("ip_adapter", "points", "point_projections")
    path = folder / file.place / (names[-1] if is_archive else file.names[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _tensors(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: each.to(dtype).contiguous() for name, each in module.state_dict().items()}


def _lora(networks: Networks) -> dict[str, Tensor]:
    """A change of every layer of the UNet's blocks, in kohya's names."""
    found = {}
    for path, layer in networks.unet.named_modules():
        if path.startswith(BLOCKS) and isinstance(layer, nn.Linear | nn.Conv2d):
            key, shape = f"lora_unet_{path.replace('.', '_')}", layer.weight.shape
            found[f"{key}.lora_down.weight"] = torch.zeros(RANK, *shape[1:]).half()
            found[f"{key}.lora_up.weight"] = torch.zeros(shape[0], RANK, *(1 for _ in shape[2:]))
            found[f"{key}.alpha"] = torch.tensor(float(RANK))
    return found


class Peak:
    """The most anonymous memory of this process beyond what it had, while the block runs."""

    def __enter__(self) -> Peak:
        self.before = self.most = _anonymous_mib()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.most = max(self.most, _anonymous_mib()) - self.before

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_S):
            self.most = max(self.most, _anonymous_mib())


def _anonymous_mib() -> float:
    said = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert said is not None
    return int(said[1]) / 1024


def load(folder: Path, dtype: str) -> str:
    """Load it here; weights, the largest of them, the most memory, and the ratio."""
    torch.set_num_threads(1)
    with Peak() as peak:
        model = build_model(ModelConfig(folder, "lcm", dtype=dtype))
    sizes = [each.nbytes / MIB for _, network in model.networks for each in network.parameters()]
    whole, largest = sum(sizes), max(sizes)
    return f"{whole:.0f} | {largest:.0f} | {peak.most:.0f} | {peak.most / whole:.2f}"


def report(shrink: int) -> str:
    """The table, and what it was made with."""
    command = f"python -m benchmarks.model_load --shrink {shrink}"
    lines = [
        "# Memory to load a model",
        f"\n    {command}\n",
        f"Random weights in the public layout, {shrink} times narrower. MiB; most: of anonymous",
        "memory, beyond what the process had; 2.00 would be every weight held twice. The rest over",
        "1.00 is the largest tensor in the file's precision, and the LoRA.",
        f"{platform.machine()}, torch {torch.__version__}, Python {platform.python_version()}.\n",
        "| files | loaded as | weights | largest | most | most / weights |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for stored in ("float32", "float16"):
        with tempfile.TemporaryDirectory() as folder:
            write_folder(Path(folder), shrunk(shrink), DTYPES[stored])
            for wanted in ("float32", "float16"):
                child = [sys.executable, "-m", "benchmarks.model_load", "--load", folder, wanted]
                done = subprocess.run(child, capture_output=True, text=True, check=True)
                lines.append(f"| {stored} | {wanted} | {done.stdout.strip()} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report, and write it down where that is asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_load")
    parser.add_argument("--shrink", type=int, choices=(1, 2), default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--load", nargs=2, metavar=("FOLDER", "DTYPE"), help="in a child process")
    asked = parser.parse_args()
    if asked.load:
        print(load(Path(asked.load[0]), asked.load[1]))
        return
    text = report(asked.shrink)
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()

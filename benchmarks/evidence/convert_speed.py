"""What converting costs, beside moving the same bytes without looking at them.

    python -m benchmarks.evidence.convert_speed [--gigabytes 8] [FOLDER]

GoogLeNet's weights from Paddle's file to safetensors beside NumPy's ``fromfile`` and ``tofile`` of as many bytes, a
gigabyte of ``.pdparams`` to ``.pt`` beside ``paddle.load`` and ``torch.save``, in seconds of the processor, and a
checkpoint of several files beside ``cp``, in turn, three times each; the medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from convert.googlenet import GOOGLENET
from portproof._machine import host
from portproof.checkpoints import Stored, write_checkpoint
from portproof.convert._convert import ConvertOptions, convert
from portproof.convert._table import COLUMNS
from portproof.sides._given import plan_of
from portproof.sides._session import Sessions

_TIMES = 3


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        small(Path(folder))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        one_file(Path(folder))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        large(Path(folder), given.gigabytes)
    print(f"numpy {np.__version__} on {host()['processor']}")


def small(folder: Path) -> None:
    """GoogLeNet's .pdparams to .safetensors, beside NumPy's own reading and writing of as many bytes."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "portproof", "convert", "--help"], check=True, stdout=subprocess.DEVNULL)
    start_s = time.perf_counter() - begun
    plan = plan_of(GOOGLENET, None, lambda: Sessions(None))  # type: ignore[arg-type]
    rng, source = np.random.default_rng(0), folder / "g.pdparams"
    entries = plan.entries["paddle"]
    tensors = {e.name: Stored.of(rng.standard_normal(e.shape).astype(np.float32)) for e in entries}
    write_checkpoint(source, tensors, "paddle")
    theirs, ours = [], []
    for _ in range(_TIMES * 3):
        begun = time.perf_counter()
        with (folder / "copy.bin").open("wb") as file:
            np.fromfile(source, np.uint8).tofile(file)
            file.flush()
            os.fsync(file.fileno())
        theirs.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        convert(plan, source, folder / "g.safetensors", ConvertOptions(), lambda _: None)
        ours.append(time.perf_counter() - begun)
    size = source.stat().st_size / 1e6
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"{size:.0f} MB .pdparams to .safetensors: {mine * 1e3:.0f} ms; fromfile, tofile and fsync "
        f"{other * 1e3:.0f} ms: {mine / other:.2f} times; starting {start_s * 1e3:.0f} ms"
    )


#: What one does without this project, each matrix transposed: its imports, and all that it loads, count.
_BY_HAND = """
import sys, numpy, paddle, torch
state = paddle.load(sys.argv[1], return_numpy=True)
turned = {name: torch.from_numpy(numpy.ascontiguousarray(array.T)) for name, array in state.items()}
torch.save(turned, sys.argv[2])
"""


def one_file(folder: Path) -> None:
    """A gigabyte of 62 matrices, all of them transposed, in seconds of the processor."""
    source, table = folder / "m.pdparams", folder / "map.csv"
    block = np.random.default_rng(0).random((1024, 4096), np.float32)
    names = [f"layers.{i}.weight" for i in range(62)]
    write_checkpoint(source, {name: Stored.of(block) for name in names}, "paddle")
    lines = [f"{name},{name},transpose,4096x1024,1024x4096,float32" for name in names]
    table.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    commands = {
        "portproof": ["-m", "portproof", "convert", str(source), "OUT", "--map", str(table), "--to", "torch"],
        "paddle.load, a transpose and torch.save": ["-c", _BY_HAND, str(source), "OUT"],
    }
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(_TIMES):
        for name, command in commands.items():
            out = folder / f"{turn}{len(command)}.pt"
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, *(str(out) if word == "OUT" else word for word in command)],
                check=True, capture_output=True,
            )  # fmt: skip
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            out.unlink()
    told = "; ".join(f"{name} {statistics.median(seconds):.1f}" for name, seconds in spent.items())
    print(f"{block.nbytes * len(names) / 1e9:.1f} GB .pdparams to .pt, seconds of the processor: {told}")


def large(folder: Path, gigabytes: float) -> None:
    """A checkpoint of several files, every other tensor transposed, beside ``cp`` of the same files."""
    rows, columns = 4096, 4096  # 64 MiB in float32
    count = max(2, round(gigabytes * 1e9 / (4 * rows * columns)))
    block = np.random.default_rng(0).random((rows, columns), np.float32)
    index = folder / "in" / "m.safetensors.index.json"
    index.parent.mkdir()
    write_checkpoint(index, {f"w{i}": Stored.of(block) for i in range(count)}, "torch", shard=2_000_000_000)
    lines = [",".join(COLUMNS)] + [
        f"w{i},v{i},{'transpose' if i % 2 else 'copy'},{rows}x{columns},{columns}x{rows},float32" for i in range(count)
    ]
    (folder / "map.csv").write_text("\n".join(lines) + "\n")
    size = sum(file.stat().st_size for file in index.parent.iterdir())
    copies, ours = [], []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        subprocess.run(["cp", "-r", str(index.parent), str(folder / "copy")], check=True)
        os.sync()
        copies.append(time.perf_counter() - begun)
        shutil.rmtree(folder / "copy")
        (folder / "out").mkdir()
        target = folder / "out" / "m.safetensors.index.json"
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "portproof", "convert", str(index), str(target), "--map", str(folder / "map.csv"),
             "--to", "paddle"], check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.sync()
        ours.append(time.perf_counter() - begun)
        assert json.loads(target.read_text())["metadata"]["total_size"] == count * block.nbytes
        shutil.rmtree(folder / "out")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    mine, other = statistics.median(ours), statistics.median(copies)
    print(
        f"{size / 1e9:.1f} GB in {len(list(index.parent.iterdir())) - 1} files, half of it transposed: {mine:.1f} s, "
        f"start and checksum included, {size / mine / 1e9:.2f} GB/s; cp {other:.1f} s, {size / other / 1e9:.2f} GB/s: "
        f"{other / mine:.0%} of its speed, peak memory {peak / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()

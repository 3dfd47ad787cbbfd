"""What converting costs, beside moving the same bytes without looking at them.

    python -m benchmarks.evidence.convert_speed [--gigabytes 8] [FOLDER]

GoogLeNet's weights from Paddle's file to safetensors beside NumPy's ``fromfile`` and ``tofile`` of as many bytes, and a
checkpoint of several files beside ``cp``, in turn, three times each; the medians are printed. Hashing the source is
counted apart, and so is starting the command.
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
    theirs, ours, hashes = [], [], []
    for _ in range(_TIMES * 3):
        begun = time.perf_counter()
        with (folder / "copy.bin").open("wb") as file:
            np.fromfile(source, np.uint8).tofile(file)
            file.flush()
            os.fsync(file.fileno())
        theirs.append(time.perf_counter() - begun)
        marks: dict[str, float] = {}

        def mark(said: str, marks: dict[str, float] = marks) -> None:
            marks.setdefault(said, time.perf_counter())

        begun = time.perf_counter()
        convert(plan, source, folder / "g.safetensors", ConvertOptions(), mark)
        whole = time.perf_counter() - begun
        copying = next(at for said, at in marks.items() if said.startswith("0%"))
        hashes.append(copying - marks["hashing the source"])
        ours.append(whole - hashes[-1])
    size = source.stat().st_size / 1e6
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"{size:.0f} MB .pdparams to .safetensors: {mine * 1e3:.0f} ms; fromfile, tofile and fsync "
        f"{other * 1e3:.0f} ms: {mine / other:.2f} times; hashing {statistics.median(hashes) * 1e3:.0f} ms, "
        f"starting {start_s * 1e3:.0f} ms"
    )


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
        f"start and hash included, {size / mine / 1e9:.2f} GB/s; cp {other:.1f} s, {size / other / 1e9:.2f} GB/s: "
        f"{other / mine:.0%} of its speed, peak memory {peak / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()

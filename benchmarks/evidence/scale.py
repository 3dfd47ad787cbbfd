"""Ten thousand images on this machine: throughput beside ``bench``, memory, scaling, and the same bytes after kills.

    python -m benchmarks.evidence.scale build/scale --images 10000 --kills 20

Takes about an hour on two cores, and wants the machine for itself from the second step on. Every step writes into the
folder, and what it has written is not made again; ``scale.json`` has the figures of docs/agree.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from parity_tests.evidence.crops import write
from portproof._machine import process_status

PORT = "googlenet"
RUNNERS = ("torch-channels-last", "paddle-inference", "onnxruntime-torch", "onnxruntime-paddle")
#: Run first, so that the oracle's scores are there when the others are timed.
FIRST = "openvino-torch"
SCALED = "onnxruntime-torch"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "portproof", *map(str, arguments)]


def tree(root: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    return []


def memory(root: int) -> int:
    """Return the bytes that a process and all below it hold for themselves; files in memory come and go with units."""
    return 1024 * sum(process_status("RssAnon", process.pid) or 0 for process in tree(root))


@contextlib.contextmanager
def sampled(root: int, samples: list[tuple[float, int]]) -> Iterator[None]:
    over = threading.Event()

    def look() -> None:
        begun = time.monotonic()
        while not over.wait(5):
            samples.append((time.monotonic() - begun, memory(root)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def agree(images: Path, store: Path, runners: str, out: Path, *more: object) -> dict[str, Any]:
    """Run it; returns the images a second, and memory at a tenth of the way and later."""
    samples: list[tuple[float, int]] = []
    process = subprocess.Popen(
        command("agree", PORT, "--images", images, "--store", store, "--runners", runners, "--json", out, "--force",
                *more),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with sampled(process.pid, samples):
        said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(said)
    line = next(line for line in said.splitlines() if "images/s" in line)
    seconds, rate = (
        float(line.split(" s, ")[0].replace(",", "")),
        float(line.split(" s, ")[1].split()[0].replace(",", "")),
    )
    whole = samples[-1][0] if samples else 0.0
    early = [held for at, held in samples if whole * 0.1 <= at < whole * 0.2]
    late = [held for at, held in samples if at >= whole * 0.9]
    mean = [sum(part) / len(part) / 2**20 if part else 0.0 for part in (early, late)]
    return {"seconds": seconds, "images_per_s": rate, "mib_at_a_tenth": mean[0], "mib_at_the_end": mean[1]}


def bench(runner: str, out: Path, threads: int, seconds: int = 5, processes: int = 3) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("bench", "run", PORT, "--scenario", "offline", "--batch", 16, "--threads", threads, "--processes",
                processes, "--seconds", seconds, "--runners", runner, "-o", out), stdout=subprocess.DEVNULL,
    )  # fmt: skip


def speed(out: Path) -> float:
    """Return the rows a second of a result's only row."""
    row = json.loads(out.read_text())["rows"][0]
    rates = sorted(process["rows"] / process["wall_s"] for process in row["processes"])
    return float(rates[len(rates) // 2])


def disturbed(images: Path, store: Path, out: Path, kills: int, seconds: float) -> dict[str, Any]:
    """Run it while the driver and processes below it are killed; returns what was killed and what was replaced."""
    rng = random.Random(0)
    killed: list[str] = []
    seen: dict[str, int] = {}
    replaced: list[str] = []
    ended = 0

    def look() -> None:
        for path in store.glob("units/*/*"):
            if path.name.startswith("."):
                continue
            inode = path.stat().st_ino
            if seen.setdefault(str(path), inode) != inode:
                replaced.append(str(path))

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command("agree", PORT, "--images", images, "--store", store, "--runners", ",".join(RUNNERS), "--json", out,
                    "--force"),
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    process = start()
    while True:
        try:
            code = process.wait(rng.uniform(0.5, 1.5) * seconds / kills if len(killed) < kills else None)
            if code == 0:
                break
            if code not in (2, 4) or not killed:
                raise SystemExit(f"ended with {code} after {killed}")
            ended += 1  # what it needs to begin was killed: it said so, and is started again
            process = start()
            continue
        except subprocess.TimeoutExpired:
            look()
        below = tree(process.pid)[1:]
        kinds = {"driver": [process.pid], "worker": [], "runner": []}
        for one in below:
            with contextlib.suppress(psutil.Error):
                line = " ".join(one.cmdline())
                if "portproof.sides._worker" in line:
                    kinds["runner"].append(one.pid)
                elif "spawn_main" in line:
                    kinds["worker"].append(one.pid)
        kind = rng.choice([name for name, found in kinds.items() if found])
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(kinds[kind]), signal.SIGKILL)
        killed.append(kind)
        print(f"killed a {kind}, {len(seen)} results kept", flush=True)
        if kind == "driver":
            process.wait()
            process = start()
    look()
    counted = {kind: killed.count(kind) for kind in sorted(set(killed))}
    return {"killed": counted, "ended_with_an_error": ended, "results": len(seen), "replaced": len(replaced)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    folder: Path = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "scale.json"
    found: dict[str, Any] = json.loads(target.read_text()) if target.is_file() else {"images": given.images}

    def step(name: str, make: Any) -> Any:
        if name not in found:
            print(name, flush=True)
            found[name] = make()
            target.write_text(json.dumps(found, indent=1) + "\n")
        return found[name]

    images, store = folder / "images", folder / "store"

    def make() -> bool:
        write(images, given.images, 0)
        return True

    step("made", make)
    step("oracle", lambda: agree(images, store, FIRST, folder / "first.json"))
    for runner in RUNNERS:

        def timed(runner: str = runner) -> dict[str, Any]:
            bench(runner, folder / f"bench-{runner}.json", 2).wait()
            reached = speed(folder / f"bench-{runner}.json")
            got = agree(images, store, runner, folder / f"{runner}.json")
            return {**got, "bench_images_per_s": reached, "share": got["images_per_s"] / reached}

        step(runner, timed)

    def scaling() -> dict[str, Any]:
        few = folder / "few"
        write(few, min(2000, given.images), 0)
        one = bench(SCALED, folder / "one.json", 1, 20, 1)
        one.wait()
        pair = [bench(SCALED, folder / f"pair{i}.json", 1, 20, 1) for i in range(2)]
        for process in pair:
            process.wait()
        alone = speed(folder / "one.json")
        together = sum(speed(folder / f"pair{i}.json") for i in range(2))
        rates = []
        agree(few, folder / "store-few", FIRST, folder / "few.json")
        for workers in (1, 2):
            own = folder / f"store-few-{workers}"
            shutil.rmtree(own, ignore_errors=True)
            shutil.copytree(folder / "store-few", own)
            rates.append(agree(few, own, SCALED, folder / "few.json", "--workers", workers)["images_per_s"])
        gain, possible = rates[1] / rates[0], together / alone
        return {"processes_gain": possible, "workers_gain": gain, "share": gain / possible, "images_per_s": rates}

    step("all", lambda: agree(images, store, ",".join(RUNNERS), folder / "undisturbed.json"))
    step("scaling", scaling)

    def after_kills() -> dict[str, Any]:
        other = folder / "store-disturbed"
        shutil.rmtree(other, ignore_errors=True)
        length = sum(found[name]["seconds"] for name in ("oracle", *RUNNERS))
        told = disturbed(images, other, folder / "disturbed.json", given.kills, length)
        same = (folder / "disturbed.json").read_bytes() == (folder / "undisturbed.json").read_bytes()
        return {**told, "same_bytes": same}

    step("kills", after_kills)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

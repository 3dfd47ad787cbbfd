"""Damages checkpoints and reads them: each must be read or refused, in bounded time and memory, and run nothing.

python -m tests.fuzz_checkpoints [COUNT] [READER ...]
"""

from __future__ import annotations

import contextlib
import io
import pickle
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from portproof import BadInput
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint

#: Reader to the suffix of its files.
READERS = {
    "paddle": ".pdparams", "torch": ".pt", "torch-legacy": ".pth", "safetensors": ".safetensors",
    "sharded": ".safetensors.index.json", "onnx": ".onnx",
}  # fmt: skip
#: Memory that reading a damaged file may take beside what the process has, and seconds.
MEMORY, SECONDS = 1 << 30, 20
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "shutil.rmtree")


@dataclass
class Found:
    """What became of the files."""

    read: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def seeds(reader: str, folder: Path) -> list[bytes]:
    """Return whole files of a format, small ones, that are damaged then."""
    rng = np.random.default_rng(0)
    tensors = {
        "a.weight": rng.random((4, 3)).astype(np.float32), "a.bias": rng.random(300).astype(np.float16),
        "n": np.array(3), "flag": np.array([True, False]),
    }  # fmt: skip
    made = folder / f"seed{READERS[reader]}"
    if reader == "onnx":
        import onnx
        from onnx import helper, numpy_helper

        initialisers = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
        onnx.save(helper.make_model(helper.make_graph([], "g", [], [], initialisers)), made)
        return [made.read_bytes()]
    if reader == "torch-legacy":
        import torch

        state = {name: torch.from_numpy(array) for name, array in tensors.items()}
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=False)
        return [buffer.getvalue()]
    side = "paddle" if reader == "paddle" else "torch"
    write_checkpoint(made, {name: Stored.of(array) for name, array in tensors.items()}, side, {"source": "x"})
    found = [made.read_bytes()]
    if reader == "paddle":
        found += [pickle.dumps(tensors, protocol) for protocol in (2, 3, 4, 5)]
    return found


def damaged(rng: np.random.Generator, seed: bytes) -> bytes:
    """Return a file with one to a few damages: bits, bytes, numbers, cuts, repetitions, and pieces moved."""
    content = bytearray(seed)
    for _ in range(int(rng.integers(1, 5))):
        kind, at = rng.integers(8), int(rng.integers(max(1, len(content))))
        if not content:
            break
        if kind == 0:
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content[at] = int(rng.integers(256))
        elif kind == 2:
            del content[at:]
        elif kind == 3:
            del content[at : at + int(rng.integers(1, 40))]
        elif kind == 4:
            piece = content[at : at + int(rng.integers(1, 60))]
            content[at:at] = piece * int(rng.integers(1, 30))
        elif kind == 5:
            width = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]))
            content[at : at + width] = (value % 256**width).to_bytes(width, "little")
        elif kind == 6:
            other = int(rng.integers(len(content)))
            piece = content[other : other + int(rng.integers(1, 80))]
            content[at : at + len(piece)] = piece
        else:
            content[at:at] = rng.integers(0, 256, int(rng.integers(1, 20)), np.uint8).tobytes()
    return bytes(content)


def fuzz(reader: str, count: int, folder: Path, seed: int) -> Found:
    """Damage and read files.

    Args:
        reader: of :data:`READERS`.
        count: files.
        folder: for one file at a time.
        seed: of the damages.
    """
    rng, found = np.random.default_rng([seed, list(READERS).index(reader)]), Found()
    whole, path = seeds(reader, folder), folder / f"x{READERS[reader]}"
    beside = sum(file.stat().st_size for file in folder.glob("*.safetensors")) if reader == "sharded" else 0
    with _watched(), _limited():
        for number in range(count):
            content = damaged(rng, whole[int(rng.integers(len(whole)))])
            path.write_bytes(content)
            signal.alarm(SECONDS)
            begun = time.perf_counter()
            try:
                for stored in open_checkpoint(path).tensors.values():
                    if stored.nbytes > len(content) + beside:
                        found.failures.append(f"{number}: a tensor of {stored.nbytes} bytes in {len(content)}")
                    stored.read()
                found.read += 1
            except BadInput as error:
                found.refused += 1
                if "more than memory holds" in str(error):
                    found.failures.append(f"{number}: {error}")
            except BaseException as error:  # whatever it is, it is a failure
                found.failures.append(f"{number}: {type(error).__name__}: {error}")
            found.slowest_s = max(found.slowest_s, time.perf_counter() - begun)
    return found


_WATCHING: list[bool] = []


def _audit(event: str, arguments: Any) -> None:
    if _WATCHING and event.startswith(_FORBIDDEN):
        raise RuntimeError(f"a file made this process do {event}")


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Raise where reading a file starts a process, or takes longer than it may."""
    if not hasattr(_audit, "added"):
        sys.addaudithook(_audit)
        _audit.added = True  # type: ignore[attr-defined]

    def late(*_: object) -> None:
        raise TimeoutError(f"a file took longer than {SECONDS} s")

    kept = signal.signal(signal.SIGALRM, late)
    _WATCHING.append(True)
    try:
        yield
    finally:
        _WATCHING.pop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, kept)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Limit this process's memory to what it has and some."""
    kept = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, kept)


def main() -> None:
    """Fuzz the readers named on the command line, or all."""
    count, names = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, sys.argv[2:] or list(READERS)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            found = fuzz(name, count, Path(folder), seed=1)
        print(
            f"{name}: {count} damaged files in {time.perf_counter() - begun:.0f} s, {found.refused} refused, "
            f"{found.read} read, slowest {found.slowest_s:.2f} s, {len(found.failures)} failures", flush=True,
        )  # fmt: skip
        for failure in found.failures[:5]:
            print(f"  {failure}")


if __name__ == "__main__":
    main()

"""Damages checkpoints and reads them: each must be read or refused, in bounded time and memory, and run nothing.

What is done with all kinds of files is here too; ``tests/fuzz.py`` runs them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from portproof import BadInput
from portproof._errors import OutOfMemory, Unavailable
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint
from tests.checkpoints.as_people_have_them import program

Arrays = dict[str, np.ndarray[Any, Any]]

#: Reader to the suffix of its files.
READERS = {
    "paddle": ".pdparams", "torch": ".pt", "torch-legacy": ".pth", "torchscript": ".pt", "training": ".ckpt",
    "pickle": ".pkl", "safetensors": ".safetensors", "sharded": ".safetensors.index.json", "npz": ".npz",
    "onnx": ".onnx", "program": ".pdmodel", "program-json": ".json", "parameters": ".pdiparams",
}  # fmt: skip
#: Memory that reading a damaged file may take beside what the process has, and seconds of its own.
MEMORY, SECONDS = 512 << 20, 2
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
    if reader in _MADE:
        return _MADE[reader](tensors, folder)
    side = "paddle" if reader == "paddle" else "torch"
    write_checkpoint(made, {name: Stored.of(array) for name, array in tensors.items()}, side, {"source": "x"})
    found = [made.read_bytes()]
    if reader == "paddle":
        cut = {"w@@.0": tensors["a.bias"], "w@@.1": tensors["a.bias"] + 1}
        table = {"UnpackBigParamInfor@@": {"w": {"OriginShape": (30, 20), "slices": list(cut)}}}
        found += [
            pickle.dumps(content, protocol) for protocol in (2, 3, 4, 5) for content in (tensors, {**cut, **table})
        ]
    return found


def _onnx(tensors: Arrays, folder: Path) -> list[bytes]:
    from onnx import helper, numpy_helper

    initialisers = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    model: Any = helper.make_model(helper.make_graph([], "g", [], [], initialisers))
    return [model.SerializeToString()]


def _saved(content: Any, *, zipped: bool, protocol: int = 2) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return buffer.getvalue()


def _legacy(tensors: Arrays, folder: Path) -> list[bytes]:
    import torch

    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    return [_saved(state, zipped=False), _saved(state, zipped=False, protocol=4)]


def _training(tensors: Arrays, folder: Path) -> list[bytes]:
    """Return what a training script keeps: tensors with bits and dtypes of their own, an average, objects, arrays."""
    import argparse

    import torch

    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    odd = [torch.complex(torch.ones(3), torch.ones(3)).conj() for _ in range(2)]
    state |= {"i": odd[0].imag, "c": odd[1], "f": torch.ones(3).to(torch.float8_e5m2), "t": torch.ones(3, 2).t()}
    content = {
        "model": {f"module.{name}": tensor for name, tensor in state.items()}, "ema": dict(tensors), "epoch": 3,
        "args": argparse.Namespace(lr=0.1), "best": np.float64(1),
        "optimizer": {"state": {0: state}, "param_groups": []},
        "names": [("a", {"b"}), bytearray(b"c")],
    }  # fmt: skip
    return [_saved(content, zipped=zipped, protocol=protocol) for zipped in (True, False) for protocol in (2, 4)]


def _script(tensors: Arrays, folder: Path) -> list[bytes]:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.BatchNorm1d(4)))
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(net), buffer)
    return [buffer.getvalue()]


def _pickles(tensors: Arrays, folder: Path) -> list[bytes]:
    return [pickle.dumps({"params": tensors, "n": 1}, protocol) for protocol in range(6)]


def _arrays(tensors: Arrays, folder: Path) -> list[bytes]:
    buffer = io.BytesIO()
    np.savez(buffer, **tensors)
    return [buffer.getvalue()]


def _parameters(tensors: Arrays, folder: Path) -> list[bytes]:
    """Return a program's parameters, and leave both kinds of program beside where the damaged file will be."""
    content, names = b"", sorted(tensors)
    for name in names:
        array = tensors[name]
        code = {"float32": 5, "float16": 4, "int64": 3, "bool": 0}[array.dtype.name]
        described = bytes((8, code)) + b"".join(b"\x10" + bytes((size & 127 | 128, size >> 7)) for size in array.shape)
        content += bytes(12) + bytes(4) + len(described).to_bytes(4, "little") + described + array.tobytes()
    (folder / "x.pdiparams").write_bytes(content)
    (folder / "x.pdmodel").write_bytes(program({name: list(tensors[name].shape) for name in names}))
    operations = [{"#": "p", "A": [0, 1, 1, name]} for name in names]
    document = {"program": {"regions": [{"blocks": [{"ops": [*operations, {"#": "1.relu"}]}]}]}}
    (folder / "x.json").write_text(json.dumps(document))
    return [content]


def _of_program(suffix: str) -> Callable[[Arrays, Path], list[bytes]]:
    def made(tensors: Arrays, folder: Path) -> list[bytes]:
        _parameters(tensors, folder)
        return [(folder / f"x{suffix}").read_bytes()]

    return made


_MADE: dict[str, Callable[[Arrays, Path], list[bytes]]] = {
    "onnx": _onnx, "torch-legacy": _legacy, "training": _training, "torchscript": _script, "pickle": _pickles,
    "npz": _arrays, "parameters": _parameters, "program": _of_program(".pdmodel"),
    "program-json": _of_program(".json"),
}  # fmt: skip


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
    rng = np.random.default_rng([seed, list(READERS).index(reader)])
    whole, path = seeds(reader, folder), folder / f"x{READERS[reader]}"
    if reader == "program":
        (folder / "x.json").unlink()
    others = [file for pattern in ("*.safetensors", "*.pdiparams") for file in folder.glob(pattern) if file != path]
    beside = sum(file.stat().st_size for file in others) if reader not in ("safetensors", "parameters") else 0

    def read(path: Path) -> None:
        size = path.stat().st_size
        for stored in open_checkpoint(path).tensors.values():
            if stored.nbytes > size + beside:
                raise AssertionError(f"a tensor of {stored.nbytes} bytes in {size}")
            stored.read()

    return attack(path, count, lambda: damaged(rng, whole[int(rng.integers(len(whole)))]), read)


def attack(
    path: Path, count: int, make: Callable[[], bytes], read: Callable[[Path], None], memory: int = MEMORY
) -> Found:
    """Write files, one after the other, and do with each what commands do.

    Args:
        path: of the file.
        count: of files.
        make: what stands in the next one.
        read: it; what it raises is a failure, but for a word to the person who named the file.
        memory: that this may take.
    """
    found = Found()
    with _watched(), _limited(memory):
        for number in range(count):
            path.write_bytes(make())
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            begun = time.process_time()
            try:
                read(path)
                found.read += 1
            except OutOfMemory as error:
                found.failures.append(f"{number}: {error}")
            except (BadInput, Unavailable) as error:
                found.refused += 1
                if "more than memory holds" in str(error):
                    found.failures.append(f"{number}: {error}")
            except BaseException as error:  # whatever it is, it is a failure
                found.failures.append(f"{number}: {type(error).__name__}: {error}")
                _keep(path, number)
            found.slowest_s = max(found.slowest_s, time.process_time() - begun)
    return found


def _keep(path: Path, number: int) -> None:
    """Keep what a reader failed at, where PORTPROOF_FUZZ_KEEP names a folder."""
    if kept := os.environ.get("PORTPROOF_FUZZ_KEEP"):
        shutil.copyfile(path, Path(kept) / f"{number}-{path.name}")


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

    kept = signal.signal(signal.SIGPROF, late)
    _WATCHING.append(True)
    try:
        yield
    finally:
        _WATCHING.pop()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, kept)


@contextlib.contextmanager
def _limited(memory: int = MEMORY) -> Iterator[None]:
    """Limit this process's memory to what it has and some."""
    kept = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, kept)

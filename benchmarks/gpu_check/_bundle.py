"""The bundle: what a machine without Paddle needs to judge ports against Paddle, in as few bytes as it takes.

Sensitised weights are a seeded draw, divided channel by channel (:mod:`portproof.sides._sensitise`). So a tensor is
kept as the name of its draw and one divisor a channel, wherever that gives every bit back. An export's initialisers are
the state dict's tensors, transposed or with BatchNorm folded in, so that they are kept as names, with one divisor a
channel too. What cannot be said so is kept as it is. Every tensor has a hash, which is checked where it is made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import atomic_path, hash_arrays, save_arrays
from portproof._errors import BadInput, PortproofError, one_line
from portproof._machine import host, package_versions, thread_budget
from portproof.bench._prepare import PreparedPort, prepare
from portproof.graphs._lower import lower
from portproof.judge._floor import Floor
from portproof.ports._locate import Located, find_port
from portproof.runners import find_runner
from portproof.sides._session import Sessions

Arrays = Mapping[str, np.ndarray[Any, Any]]
Ref = dict[str, Any]

VERSION = 1
#: GoogLeNet, its family, and three ports that are something else: residual, depthwise, attention over integer tokens.
#: Their torch sides stand in this project, so that the other machine needs no torchvision.
PORTS = (
    "convert.googlenet:GOOGLENET",
    "convert.googlenet_paddle:GOOGLENET_PADDLE",
    "convert.googlenet_bn:GOOGLENET_BN",
    "convert.googlenet_bvlc:GOOGLENET_BVLC",
    "convert.resnet18:RESNET18",
    "convert.zoo:MOBILENET_V1",
    "convert.zoo_beyond:BERT",
)
RUNS = tuple((side, precision) for side in ("paddle", "torch") for precision in ("float64", "float32"))
#: A tensor of fewer bytes is kept as it is.
_SMALL = 1024
#: Of all draws of the weights.
_SEED = 0


@dataclass(frozen=True)
class Kit:
    """One port of a bundle, unpacked.

    Attributes:
        located: the port.
        prepared: weights, exports, inputs, Paddle's float64 run as the oracle, floors.
    """

    located: Located
    prepared: PreparedPort


def write_bundle(path: Path, names: Iterable[str], watch: Callable[[str], None]) -> None:
    """Run both sides of ports and write the bundle.

    Args:
        path: of the file; it appears when it is whole.
        names: of the ports, as on the command line.
        watch: told which port it is at.

    Raises:
        PortproofError: a port cannot be found, built or run.
    """
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        store = _Store(archive)
        ports = {}
        for name in names:
            watch(name)
            ports[name] = _pack(find_port(name), store)
        packages = package_versions("torch", "paddlepaddle", "onnx", "paddle2onnx", "numpy")
        document = {"bundle_version": VERSION, "environment": {**host(), "packages": packages}, "ports": ports}
        archive.writestr("manifest.json", json.dumps(document, indent=1))


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack a bundle into one folder a port; returns its manifest.

    Raises:
        BadInput: the file is no bundle, of another version, damaged, or a draw comes out otherwise on this machine.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
            if manifest.get("bundle_version") != VERSION:
                found = manifest.get("bundle_version")
                raise BadInput(f"'{path}' is a bundle of version {found}, expected {VERSION}; make it again.")
            for number, port in enumerate(manifest["ports"].values()):
                place = folder / str(number)
                place.mkdir(parents=True)
                _unpack(port, archive, place)
    except FileNotFoundError as error:
        raise BadInput(
            f"no bundle '{path}'; make one with `python -m benchmarks.gpu_check bundle -o {path}`."
        ) from error
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError) as error:
        raise BadInput(f"'{path}' is no bundle, or damaged ({one_line(error, 120)}); make it again.") from error
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def kits(folder: Path) -> dict[str, Kit]:
    """Return the ports of an unpacked bundle, by name, the flagship first."""
    ports = json.loads((folder / "manifest.json").read_text())["ports"]
    return {name: _kit(name, port, folder / str(number)) for number, (name, port) in enumerate(ports.items())}


def _kit(name: str, port: Mapping[str, Any], place: Path) -> Kit:
    artefacts: dict[tuple[str, str], Path | PortproofError] = {
        ("onnx", side): BadInput(graph["missing"]) if "missing" in graph else place / f"{side}.onnx"
        for side, graph in port["graphs"].items()
    }
    floors = {output: Floor(**floor) for output, floor in port["floors"].items()}
    weights = {"torch": place / "torch.safetensors"}
    rows, oracle = load_file(place / "inputs.safetensors"), load_file(place / "paddle-float64.safetensors")
    prepared = PreparedPort(
        place, weights, artefacts, rows, oracle, floors, frozenset(port["batched"]), port["work_gflop"]
    )
    artefacts |= {("onnx-float16", side): _in_float16(path) for (_, side), path in list(artefacts.items())}
    return Kit(find_port(name), prepared)


def _in_float16(export: Path | PortproofError) -> Path | PortproofError:
    """Return an export in float16, made where it is not there yet."""
    if not isinstance(export, Path):
        return export
    out = export.with_name(f"{export.stem}-float16.onnx")
    if not out.is_file():
        with tempfile.TemporaryDirectory(dir=export.parent) as scratch:  # steps run side by side
            try:
                lower(export, "onnx-float16", Path(), made := Path(scratch, out.name))
            except PortproofError as error:
                return error
            made.replace(out)
    return out


def _pack(located: Located, store: _Store) -> dict[str, Any]:
    """Run one port and put what the other machine needs into the archive."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        Sessions(located, {}, "cpu", thread_budget()) as sessions,
    ):
        folder = Path(scratch)
        prepared = prepare(sessions, folder, [find_runner(f"onnxruntime-{side}") for side in ("torch", "paddle")])
        state = load_file(prepared.weights["torch"])
        return {
            "weights": {name: store.put(array, {"draw": _key(name)}) for name, array in state.items()},
            "inputs": {name: store.put(array) for name, array in prepared.rows.items()},
            "runs": {
                f"{side}-{precision}": {
                    name: store.put(array)
                    for name, array in load_file(folder / f"{side}-{precision}" / f"{precision}.safetensors").items()
                }
                for side, precision in RUNS
            },
            "floors": {name: asdict(floor) for name, floor in prepared.floors.items()},
            "batched": sorted(prepared.batched),
            "work_gflop": prepared.work_gflop,
            "graphs": {side: _graph(prepared.artefacts["onnx", side], state, store) for side in ("torch", "paddle")},
        }


def _key(name: str) -> str:
    """Return the key of a tensor's draw: the seed, the module's path, a dot, the tensor's own name."""
    path, _, leaf = name.rpartition(".")
    return f"{_SEED}:{path}.{leaf}"


def _graph(artefact: Path | PortproofError, state: Arrays, store: _Store) -> dict[str, Any]:
    """Keep a graph without the tensors that the state dict has."""
    import onnx
    from onnx import numpy_helper

    if isinstance(artefact, PortproofError):
        return {"missing": str(artefact)}
    known: dict[str, Ref] = {}
    for name, array in state.items():
        known[_hash(array)] = {"of": name}
        known.setdefault(_hash(array.T), {"of": name, "transposed": True})
    proto = onnx.load(str(artefact))
    tensors: dict[str, Ref] = {}
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.nbytes < _SMALL:
            continue
        folded = {"of": tensor.name} if tensor.name in state else {}
        tensors[tensor.name] = known.get(_hash(array)) or store.put(array, folded, state)
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
            tensor.ClearField(field)
    return {"proto": store.bytes(proto.SerializeToString()), "tensors": tensors}


def _unpack(port: Mapping[str, Any], archive: zipfile.ZipFile, place: Path) -> None:
    import onnx
    from onnx import numpy_helper

    state = {name: _take(ref, archive) for name, ref in port["weights"].items()}
    save_arrays(place / "torch.safetensors", state)
    save_arrays(place / "inputs.safetensors", {name: _take(ref, archive) for name, ref in port["inputs"].items()})
    for run, outputs in port["runs"].items():
        save_arrays(place / f"{run}.safetensors", {name: _take(ref, archive) for name, ref in outputs.items()})
    for side, graph in port["graphs"].items():
        if "missing" in graph:
            continue
        proto = onnx.ModelProto.FromString(archive.read(f"blobs/{graph['proto']}"))
        for tensor in proto.graph.initializer:
            ref = graph["tensors"].get(tensor.name)
            if ref is None:
                continue
            if "of" in ref and "divisors" not in ref:
                array = np.ascontiguousarray(state[ref["of"]].T if ref.get("transposed") else state[ref["of"]])
            else:
                array = _take(ref, archive, state)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        onnx.save(proto, str(place / f"{side}.onnx"))


class _Store:
    """Arrays in an archive, each once."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._known: set[str] = set()

    def bytes(self, data: bytes) -> str:
        """Keep bytes under their hash, which is returned."""
        name = hashlib.sha256(data).hexdigest()
        if name not in self._known:
            self._known.add(name)
            self._archive.writestr(f"blobs/{name}", data)
        return name

    def put(self, array: np.ndarray[Any, Any], base: Ref | None = None, state: Arrays | None = None) -> Ref:
        """Keep an array, as another one divided channel by channel where that gives every bit back.

        Args:
            array: to be kept.
            base: the other one: a ``draw`` or a tensor ``of`` the state dict.
            state: that state dict.

        Returns:
            How to make it again.
        """
        ref: Ref = {"shape": list(array.shape), "dtype": array.dtype.str, "sha256": _hash(array)}
        if base and array.nbytes >= _SMALL and array.ndim > 1 and array.dtype == np.float32:
            divisors = _divisors(array, _base(base, array.shape, state or {}))
            if divisors is not None:
                return {**ref, **base, "divisors": self.bytes(divisors.tobytes())}
        return {**ref, "blob": self.bytes(np.ascontiguousarray(array).tobytes())}


def _take(ref: Ref, archive: zipfile.ZipFile, state: Arrays | None = None) -> np.ndarray[Any, Any]:
    if "divisors" in ref:
        divisors = np.frombuffer(archive.read(f"blobs/{ref['divisors']}"), np.float64)
        array = _divided(_base(ref, tuple(ref["shape"]), state or {}), divisors)
    else:
        array = np.frombuffer(archive.read(f"blobs/{ref['blob']}"), np.dtype(ref["dtype"])).reshape(ref["shape"])
    if _hash(array) != ref["sha256"]:
        what = (
            f"the draw '{ref['draw']}' comes out otherwise with NumPy {np.__version__}" if "draw" in ref else "damaged"
        )
        raise BadInput(f"a tensor of the bundle is not what it was ({what}); make the bundle again.")
    return array


def _base(ref: Ref, shape: tuple[int, ...], state: Arrays) -> np.ndarray[Any, Any]:
    """Return what is divided: a tensor of the state dict, or a draw as ``portproof.sides._sensitise`` makes it."""
    if "of" in ref:
        return state[ref["of"]].astype(np.float64)
    rng = np.random.default_rng(zlib.crc32(ref["draw"].encode()))
    drawn = rng.standard_normal(shape) / math.sqrt(math.prod(shape) / shape[0])
    return drawn.astype(np.float32).astype(np.float64)


def _divided(whole: np.ndarray[Any, Any], divisors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = (whole / divisors.reshape(-1, *[1] * (whole.ndim - 1))).astype(np.float32)
    return found


def _divisors(array: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Return one divisor a channel that turns one array into another, bit by bit; None where none does.

    Every element confines its channel's divisor to an interval: those that round to the element. Any number in the
    intersection will do.
    """
    if whole.shape != array.shape:
        return None
    one = np.abs(array.reshape(len(array), -1).astype(np.float64))
    base = np.abs(whole.reshape(len(array), -1))
    half = np.spacing(one.astype(np.float32)).astype(np.float64) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(base > 0, base / (one + half), 0).max(axis=1)
        high = np.where(base > 0, base / (one - half), np.inf).min(axis=1)
        divisors = np.where(low <= high, (low + high) / 2, base.sum(axis=1) / one.sum(axis=1))
        sign = np.where((array.reshape(len(array), -1) * whole.reshape(len(array), -1)).sum(axis=1) < 0, -1.0, 1.0)
        divisors = sign * divisors  # a BatchNorm's scale may be negative
        found = _divided(whole, divisors)
    return divisors if found.tobytes() == array.tobytes() else None


def _hash(array: np.ndarray[Any, Any]) -> str:
    return hash_arrays({"": array})

"""A checkpoint read by its own tools, in a process of its own, to hold another reading against; no code of it runs.

python -m portproof.frameworks._reread  <  {"path": ..., "places": [[key, ...], ...]}

Answers JSON: ``by``, and for each place dtype, shape and the SHA-256 of the bytes in C order; or a ``reason`` why not.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from portproof._disk import beneath
from portproof._errors import BadInput, one_line
from portproof._machine import bound_memory


def main() -> None:
    """Read what standard input asks for, answer on standard output."""
    bound_memory()
    asked = json.loads(sys.stdin.read())
    try:
        answer = _read(Path(asked["path"]), [tuple(place) for place in asked["places"]])
    except BadInput as error:
        answer = {"reason": str(error)}
    except Exception as error:  # every loader refuses in ways of its own
        answer = {"reason": one_line(error, 120)}
    sys.stdout.write(json.dumps(answer))


def _read(path: Path, places: list[tuple[Any, ...]]) -> dict[str, Any]:
    by, tree = _tree(path)
    return {"by": by, "tensors": [_digest(_at(tree, place)) for place in places]}


def _tree(path: Path) -> tuple[str, Any]:
    name = path.name.lower()
    if name.endswith((".pdparams", ".pdopt")):
        with path.open("rb") as file:
            return "Python's unpickler and NumPy", _NumpyOnly(file, encoding="latin1").load()
    if name.endswith(".safetensors"):
        return "safetensors", _Shards(path, None)
    if name.endswith(".safetensors.index.json"):
        return "safetensors", _Shards(path, json.loads(path.read_text(encoding="utf-8"))["weight_map"])
    if name.endswith(".npz"):
        return "numpy.load", np.load(path, allow_pickle=False)
    if name.endswith(".onnx"):
        import onnx
        from onnx import numpy_helper

        held = onnx.load(path, load_external_data=False).graph.initializer
        for place in (entry.value for one in held for entry in one.external_data if entry.key == "location"):
            beneath(path, place)
        folder = str(path.absolute().parent)
        return "onnx", {one.name: numpy_helper.to_array(one, folder) for one in held}
    if name.endswith((".pt", ".pth", ".pth.tar", ".bin", ".ckpt", ".pkl")):
        try:
            import torch
        except ImportError:
            raise BadInput("PyTorch is not installed here") from None
        return "torch.load(weights_only=True)", torch.load(path, map_location="cpu", weights_only=True)
    raise BadInput(f"nothing else reads a {path.suffix} without running it")


class _NumpyOnly(pickle.Unpickler):
    """Python's own unpickler, which may make arrays and containers."""

    _KNOWN: ClassVar[dict[str, tuple[str, ...]]] = {
        "numpy": ("ndarray", "dtype"), "collections": ("OrderedDict",), "_codecs": ("encode",), "builtins": ("tuple",),
        "numpy.core.multiarray": ("_reconstruct", "scalar"), "numpy._core.multiarray": ("_reconstruct", "scalar"),
        "numpy.core.numeric": ("_frombuffer",), "numpy._core.numeric": ("_frombuffer",),
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._KNOWN.get(module, ()):
            raise BadInput(f"it asks for '{module[:60]}.{name[:60]}', which Python would have to run")
        return super().find_class(module, name)


class _Shards:
    """Tensors of safetensors files by name."""

    def __init__(self, path: Path, placed: dict[str, str] | None) -> None:
        self._path, self._placed = path, placed

    def __getitem__(self, name: str) -> Any:
        from safetensors import safe_open

        file = self._path if self._placed is None else beneath(self._path, self._placed[name])
        with safe_open(file, "np") as opened:
            return opened.get_tensor(name)


def _at(tree: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        if isinstance(tree, dict) and key not in tree:
            key = str(key).encode()  # a name that was written as bytes
        tree = tree[key]
    return tree[1] if isinstance(tree, tuple) and len(tree) == 2 else tree


def _digest(value: Any) -> list[Any]:
    if hasattr(value, "detach"):  # a tensor: as bytes, since NumPy has not all of torch's dtypes
        import torch

        plain = value.detach().resolve_neg().resolve_conj().contiguous()
        name = str(plain.dtype).removeprefix("torch.")
        raw = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        return [name, list(plain.shape), hashlib.sha256(raw).hexdigest()]
    array = np.asarray(value)
    return [array.dtype.name, list(array.shape), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]


if __name__ == "__main__":
    main()

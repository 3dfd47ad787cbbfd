"""Captures: one run of one runner on disk, and the only thing that passes between the sides."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from portproof._disk import Checked, Seconds, among, as_kind, beneath, having, read_json, write_text
from portproof._errors import BadInput, one_line
from portproof._numbers import Arrays
from portproof.frameworks._entries import Entry
from portproof.ports._weightmap import from_json, to_json

CAPTURE_VERSION = 1
_MAP = Checked(lambda found: to_json(from_json(found)))
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a capture is of.

    Attributes:
        port, side, runner: the identity; two captures of one port and other sides or runners can be compared.
        title: the runner's name for people.
        inputs_hash: of the input arrays, equal on both sides of a comparison.
        weights_hash: of the state dict, in the side's own names and layouts.
        outputs: names, in order.
        runs: precision (``float64``, ``float32``) to whether a run at batch 1 is there too.
        entries: the state dict's description, for the bijection.
        modules: path and layer type of every module.
        environment: versions, threads, device, host.
        weight_map: the port's map, so that a comparison can pair the two state dicts without the port's code.
        seconds: per precision, of the run.
    """

    port: str
    side: Annotated[str, among("torch", "paddle")]
    runner: str
    title: str
    inputs_hash: str
    weights_hash: str
    outputs: tuple[str, ...]
    runs: dict[str, bool]
    environment: Annotated[dict[str, Any], having({}, versions=dict[str, str])]
    entries: tuple[Entry, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    capture_version: int = CAPTURE_VERSION
    weight_map: Annotated[dict[str, Any], _MAP] = field(default_factory=dict)
    seconds: dict[str, Seconds] = field(default_factory=dict)


@dataclass(frozen=True)
class Capture:
    """A capture's manifest and, read when asked for, its tensors."""

    folder: Path
    manifest: Manifest

    def inputs(self) -> Arrays:
        """Return the input rows."""
        return self._load("inputs.safetensors")

    def weights(self) -> Arrays:
        """Return the state dict that was run, in the side's own names and layouts."""
        path = self.folder / "weights.safetensors"
        found = self._load(path.name)
        for entry in self.manifest.entries:
            if entry.name in found and found[entry.name].shape != entry.shape:
                raise BadInput(
                    f"'{path}': '{entry.name}' has shape {list(found[entry.name].shape)}, the capture's manifest says "
                    f"{list(entry.shape)}; make it again."
                )
        return found

    def outputs(self, precision: str, *, single: bool = False) -> Arrays | None:
        """Return the outputs of one run, None where it was not made; ``single``: rows run one at a time."""
        path = self.folder / f"{precision}{'.single' if single else ''}.safetensors"
        if not path.exists():
            return None
        found, named = self._load(path.name), set(self.manifest.outputs)
        if found.keys() != named and not (single and found.keys() <= named):
            raise BadInput(f"'{path}' holds {sorted(found)}, the manifest names {sorted(named)}; make it again.")
        if single and not all(array.ndim for array in found.values()):
            raise BadInput(f"'{path}' has an output without rows; make it again.")
        return found

    def _load(self, name: str) -> Arrays:
        path = self.folder / name
        if not path.exists():
            raise BadInput(f"'{path}' is missing; the capture is not whole. Make it again.")
        try:
            return load_file(beneath(self.folder / _MANIFEST, name))
        except (SafetensorError, OSError) as error:
            raise BadInput(f"'{path}' is damaged ({one_line(error, 120)}); make the capture again.") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest last: a folder without one is no capture."""
    write_text(folder / _MANIFEST, json.dumps(asdict(manifest), indent=1))


def read_capture(folder: Path) -> Capture:
    """Read a capture's manifest.

    Raises:
        BadInput: the folder is no capture, or one of another version.
    """
    path = folder / _MANIFEST
    if not path.exists():
        raise BadInput(f"'{folder}' is no capture: it has no manifest.json. Make one with `portproof capture`.")
    document = read_json(beneath(path, _MANIFEST), "no manifest of a capture")
    version = document.get("capture_version") if isinstance(document, dict) else None
    if version != CAPTURE_VERSION:
        raise BadInput(f"'{folder}' is a capture of version {version}, expected {CAPTURE_VERSION}; make it again.")
    try:
        return Capture(folder, as_kind(Manifest, document))
    except (ValueError, BadInput) as error:
        raise BadInput(f"'{path}' is damaged ({error}); make the capture again.") from error

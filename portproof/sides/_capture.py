"""Captures: one run of one runner on disk, and the only thing that passes between the sides."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from portproof._disk import beneath, read_json, write_text
from portproof._errors import BadInput, one_line
from portproof._numbers import Arrays
from portproof.frameworks._entries import Entry

CAPTURE_VERSION = 1
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
    side: str
    runner: str
    title: str
    inputs_hash: str
    weights_hash: str
    outputs: tuple[str, ...]
    runs: dict[str, bool]
    environment: dict[str, Any]
    entries: tuple[Entry, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    capture_version: int = CAPTURE_VERSION
    weight_map: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


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
        return self._load("weights.safetensors")

    def outputs(self, precision: str, *, single: bool = False) -> Arrays | None:
        """Return the outputs of one run, None where it was not made; ``single``: rows run one at a time."""
        name = f"{precision}{'.single' if single else ''}.safetensors"
        return self._load(name) if (self.folder / name).exists() else None

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
    try:
        document = read_json(beneath(path, _MANIFEST), "no manifest of a capture")
        version = document.get("capture_version")
        if version != CAPTURE_VERSION:
            raise BadInput(f"'{folder}' is a capture of version {version}, expected {CAPTURE_VERSION}; make it again.")
        entries = tuple(Entry.from_json(entry) for entry in document.pop("entries"))
        modules = tuple((str(path), str(layer)) for path, layer in document.pop("modules"))
        outputs = tuple(document.pop("outputs"))
        return Capture(folder, Manifest(**document, entries=entries, modules=modules, outputs=outputs))
    except BadInput:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"'{path}' is damaged ({one_line(error, 120)}); make the capture again.") from error

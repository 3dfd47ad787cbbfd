"""``portproof capture`` and ``portproof compare``: the same judgement where the sides never meet."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._disk import hash_arrays, save_arrays
from portproof._errors import BadInput, Unavailable, and_more
from portproof._machine import host
from portproof.convert._account import Account, known_parts, match_states
from portproof.convert._transfer import transfer
from portproof.frameworks._entries import Entry
from portproof.frameworks._export import EXPORTING
from portproof.judge._floor import output_floors
from portproof.judge._hops import SideRun, side_hops
from portproof.judge._report import Report, gravest
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located
from portproof.ports._weightmap import from_json
from portproof.runners import RunnerInfo, find_runner
from portproof.sides._capture import Capture, read_capture
from portproof.sides._given import given_weights
from portproof.sides._process import Session
from portproof.sides._session import Sessions
from portproof.sides._sides import own_tensors
from portproof.sides._tasks import Tasks


@dataclass(frozen=True)
class CaptureOptions:
    """What ``capture`` is asked for.

    Attributes:
        like: a capture whose inputs and weights are run again here.
        weights: a checkpoint to run, in place of sensitised weights.
        images: folder of photographs in place of the packaged ones.
        seed: of weights and probes.
    """

    like: Path | None = None
    weights: Path | None = None
    images: Path | None = None
    seed: int = 0


def capture(sessions: Sessions, runner: str, out: Path, options: CaptureOptions) -> Capture:
    """Run one runner on inputs and weights that travel with the capture.

    Args:
        sessions: of the port.
        runner: name of the runner.
        out: folder to make; an older capture there is replaced when the new one is whole.
        options: what to run it on.

    Raises:
        BadInput: the folder holds something else, or the capture to follow is of another port or other weights.
    """
    port = sessions.located.port
    info = find_runner(runner)
    if info.side not in port.sides:
        raise BadInput(f"runner '{runner}' executes the {info.side} side, which port '{port.name}' does not have.")
    if out.exists() and not (out / "manifest.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"'{out}' holds something that is no capture; name a new folder.")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"cannot make '{out}': the folder '{out.parent}' does not exist.")
    elsewhere = sessions.located.project.python
    needed = () if info.process in elsewhere else info.needs
    exporting = EXPORTING[info.side] if info.source == "onnx" and info.side not in elsewhere else ()
    sessions.require(f"the runner {runner}", [info.side], *needed, *exporting)
    side = sessions.open(info.side)
    inputs, weights = sessions.folder / "inputs.safetensors", sessions.folder / "weights.safetensors"
    followed = read_capture(options.like) if options.like is not None else None
    if followed is not None:
        _follow(followed, sessions.located, side, info.side, inputs, weights)
    else:
        save_arrays(inputs, make_batch(port, seed=options.seed, images=options.images).arrays)
        if options.weights is not None:
            save_arrays(weights, given_weights(options.weights, {info.side: side})[0])
        else:
            side.call(Tasks.sensitise, inputs=inputs, out=weights, seed=options.seed)
    side.call(Tasks.load, weights=weights)
    hashes = {"inputs": hash_arrays(load_file(inputs)), "weights": hash_arrays(load_file(weights))}
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        session, artefact = _artefact(sessions, side, info, inputs)
        session.call(
            Tasks.capture, runner=runner, inputs=inputs, out=staged, precisions=list(info.precisions),
            hashes=hashes, state=weights, described=side.call(Tasks.describe), artefact=artefact,
        )  # fmt: skip
        if out.exists():
            shutil.rmtree(out)
        staged.rename(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return read_capture(out)


def _artefact(sessions: Sessions, side: Session, info: RunnerInfo, inputs: Path) -> tuple[Session, Path | None]:
    """Return the process that a runner runs in, and the file that it needs, exported on the spot."""
    if info.artefact == "model":
        return side, None
    if info.artefact != "onnx":
        raise BadInput(f"runner '{info.name}' runs a file of its own; it cannot be captured from a model.")
    exported = sessions.folder / "export.onnx"
    side.call(Tasks.export, inputs=inputs, out=exported)
    return sessions.open(info.process), exported


def _follow(followed: Capture, located: Located, side: Session, name: str, inputs: Path, weights: Path) -> None:
    """Take inputs and weights from the other side's capture."""
    manifest = followed.manifest
    if manifest.port != located.port.name:
        raise BadInput(f"'{followed.folder}' is a capture of port '{manifest.port}', not of '{located.port.name}'.")
    save_arrays(inputs, followed.inputs())
    tensors = followed.weights()
    if manifest.side != name:
        described = side.call(Tasks.describe)
        own = described.entries
        modules = manifest.modules if manifest.side == "torch" else described.modules
        account = _account({manifest.side: manifest.entries, name: own}, manifest.weight_map, modules)
        tensors = transfer(tensors, account, name, own_tensors(side, account, name, inputs.parent))
    save_arrays(weights, tensors)


def _account(
    entries: dict[str, tuple[Entry, ...]], weight_map: dict[str, Any], torch_modules: Sequence[Sequence[Any]]
) -> Account:
    weights = known_parts(from_json(weight_map), torch_modules)
    account = match_states(entries["torch"], entries["paddle"], weights)
    if account.problems:
        said = and_more([problem.message for problem in account.problems])
        raise BadInput(f"the two state dicts do not correspond: {said}.")
    return account


def compare_captures(first: Path, second: Path) -> Report:
    """Judge two captures of one port.

    Raises:
        BadInput: they are of two ports, other inputs or other weights, or one capture twice.
        Unavailable: neither holds a float64 run.
    """
    captures = [read_capture(first), read_capture(second)]
    one, two = (capture.manifest for capture in captures)
    if one.port != two.port:
        raise BadInput(f"'{first}' is a capture of port '{one.port}' and '{second}' of '{two.port}'; compare one port.")
    if (one.side, one.runner) == (two.side, two.runner):
        raise BadInput(f"both captures are of {one.runner}; a capture is compared with another side or runner.")
    if one.inputs_hash != two.inputs_hash:
        raise BadInput(f"the captures ran other inputs; make the second with --like '{first}'.")
    if one.outputs != two.outputs:
        raise BadInput(f"the captures have other outputs: {list(one.outputs)} and {list(two.outputs)}.")
    _require_same_weights(captures)
    captures.sort(key=lambda c: (c.outputs("float64") is None, c.manifest.side != "torch"))
    if captures[0].outputs("float64") is None:
        raise Unavailable(
            "neither capture holds a float64 run, so there is no oracle; capture a framework's own runner."
        )
    runs = [_side_run(capture) for capture in captures]
    floors = output_floors([(run.float32, run.float64) for run in runs if run.float64 is not None])
    hops = side_hops(runs, "captured", floors)
    environment = {**host(), "sides": {c.manifest.runner: c.manifest.environment for c in captures}}
    return Report(
        one.port, gravest([hop.verdict for hop in hops]), tuple(hops), weights=("captured",), environment=environment
    )


def _side_run(capture: Capture) -> SideRun:
    float32 = capture.outputs("float32")
    if float32 is None:
        raise BadInput(f"'{capture.folder}' holds no float32 run; make the capture again.")
    titles = {"torch": "torch", "paddle": "Paddle"}
    single = capture.outputs("float32", single=True)
    return SideRun(titles[capture.manifest.side], capture.manifest.title, float32, capture.outputs("float64"), single)


def _require_same_weights(captures: list[Capture]) -> None:
    one, two = (capture.manifest for capture in captures)
    if one.weights_hash == two.weights_hash:
        return
    said = "the captures ran other weights"
    if one.side == two.side or not (one.entries and two.entries):
        raise BadInput(f"{said}; make the second with --like '{captures[0].folder}'.")
    torch = one if one.side == "torch" else two
    account = _account({one.side: one.entries, two.side: two.entries}, one.weight_map, torch.modules)
    moved, theirs = transfer(captures[0].weights(), account, two.side, {}), captures[1].weights()
    for name, array in moved.items():
        if name not in theirs or array.tobytes() != theirs[name].tobytes():
            raise BadInput(f"{said}: '{name}' differs; make the second with --like '{captures[0].folder}'.")

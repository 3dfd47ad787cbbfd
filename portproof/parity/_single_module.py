"""``--module``: one part of a port judged alone, on the inputs that it receives inside the whole."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput, PortproofError
from portproof._numbers import Arrays
from portproof.frameworks._model import unknown_module
from portproof.ports._port import Part
from portproof.replay._tasks import ReplayTasks
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks


def descend(sides: Sides, path: str, arrays: Arrays, seed: int) -> Arrays:
    """Make one module the whole of the port.

    Args:
        sides: of the whole; their sessions are replaced by those of the part.
        path: torch path of the module.
        arrays: inputs of the whole.
        seed: of the weights under which the module's inputs are caught.

    Returns:
        What the module receives inside the first side that runs, by input name.

    Raises:
        BadInput: there is no such module, or no side gives it an input.
    """
    known = [known for known, *_ in sides.open[sides.live[0]].call(Tasks.describe).modules]
    if path not in known:
        raise BadInput(unknown_module(sides.live[0], path, known))
    tapped = sides.folder / "module.safetensors"
    save_arrays(tapped, arrays)
    received, signature = _caught(sides, path, tapped, seed)
    sides.sessions.narrow(signature)
    for side in sides.live:
        sides.prefix[side] = path if side == "torch" else sides.paddle_path(path)
        sides.open[side] = sides.sessions.open(side, sides.prefix[side])
    return received


def _caught(sides: Sides, path: str, tapped: Path, seed: int) -> tuple[Arrays, Part]:
    """Run the whole on sensitised weights, on the first side that can, and return what the module receives."""
    sensitised, received = sides.folder / "whole.safetensors", sides.folder / "module-inputs.safetensors"
    failures: list[str] = []
    for side in sides.live:
        local = path if side == "torch" else sides.paddle_path(path)
        whole = sides.open[side]
        try:
            whole.call(Tasks.sensitise, inputs=tapped, out=sensitised, seed=seed)
            whole.call(Tasks.load, weights=sensitised)
            signature = whole.call(ReplayTasks.module_inputs, path=local, inputs=tapped, out=received)
        except PortproofError as error:
            failures.append(str(error))
            continue
        if signature is not None:
            return load_file(received), signature
    why = failures[0] if failures else "no side calls it in its forward"
    raise BadInput(f"--module '{path}': no side gives it an input ({why}).")

"""A port made of two models in files that a person names: what they return is told by one forward of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from portproof._disk import save_arrays
from portproof._errors import BadInput, ModelRaised
from portproof.checkpoints import reading
from portproof.checkpoints._onnx import interface
from portproof.parity._models import TRIAL_ROWS, outputs_of
from portproof.ports._files import (
    ModelFile,
    by_side,
    handed_over,
    input_of,
    input_of_graph,
    inputs_of,
    port_name,
    port_source,
)
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located, Project, find_port
from portproof.ports._port import Input, Port
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides, Watch
from portproof.sides._tasks import Tasks

#: The file that a port is found by while it is judged; `portproof init --from-models` writes one to keep.
_FILE = "models.py"


def port_of_files(first: str, second: str, specs: Sequence[str], kwargs: Mapping[str, Any]) -> Port:
    """Return the port of two models, as far as their files say; its output is the one that most have.

    Args:
        first, second: ``file.py:NAME``, ``package.module:NAME`` or ``file.onnx``, in whatever order.
        specs: of the inputs; see :func:`~portproof.ports._files.inputs_of`. A graph has its own.
        kwargs: of both factories.

    Raises:
        BadInput: a name leads nowhere, both are of one framework, or an input cannot be read.
    """
    models = by_side(first, second)
    factories: dict[str, Any] = {side: _whole(model) for side, model in models.items()}
    name, graph = port_name(models["torch"].name), next((model for model in models.values() if model.graph), None)
    if graph is not None:
        inputs, outputs = _interface(Path(graph.factory), specs)
        axes = {name: axis for name, axis in outputs.items() if axis != 0}
        return Port(
            name, inputs=inputs, kwargs=dict(kwargs), outputs=tuple(outputs), batch_axes=axes, **factories
        )  # fmt: skip
    inputs = inputs_of(specs, models)
    return Port(name, inputs=inputs, kwargs=dict(kwargs), call=handed_over(inputs, models), **factories)


def _whole(model: ModelFile) -> str:
    """Return a factory that is found from any folder."""
    file, colon, name = model.factory.partition(":")
    return f"{Path(file).absolute()}{colon}{name}" if file.endswith((".py", ".onnx")) else model.factory


def _interface(file: Path, specs: Sequence[str]) -> tuple[dict[str, Input], dict[str, int | None]]:
    """Return the inputs of a graph, with what ``--input`` says of them, and its outputs with the axes of their rows.

    Raises:
        BadInput: the file is none, or ``--input`` names what is no input of it.
    """
    declared, outputs = graph_interface(file)
    for place, (name, given) in enumerate(map(input_of, specs)):
        wanted = name or (list(declared)[place] if place < len(declared) else "")
        if wanted not in declared:
            raise BadInput(f"--input '{specs[place]}': '{file}' has the inputs {', '.join(declared)}.")
        declared[wanted] = given
    return declared, outputs


def graph_interface(file: Path) -> tuple[dict[str, Input], dict[str, int | None]]:
    """Return the inputs of a graph as a port declares them, and its outputs with the axes of their rows.

    Raises:
        BadInput: the file is none.
    """
    with reading(file, "an ONNX file"):
        inputs, outputs = interface(file)
    return (
        {name: input_of_graph(value.shape, value.dtype) for name, value in inputs.items()},
        {
            name: next((axis for axis, size in enumerate(value.shape) if not isinstance(size, int)), 0)
            for name, value in outputs.items()
        },
    )


def located_in(
    folder: Path, port: Port, project: Project, watch: Watch | None = None, *, keep: bool = False
) -> Located:
    """Write a port of two files into a folder, with the outputs that one forward of each tells, and return it.

    Args:
        folder: that lasts as long as the port is used.
        port: of :func:`port_of_files`.
        project: whose interpreters run the sides.
        watch: told what each process does.
        keep: answer from the store what it has.

    Raises:
        BadInput: a factory raises, or the models return other outputs.
        ModelRaised: neither model can be run on the inputs.
    """
    file = folder / _FILE
    file.write_text(port_source(port), encoding="utf-8")
    found = find_port(f"{file}:PORT", project)
    if any(map(port.artefact, port.sides)):  # a graph's outputs have names
        return found
    with Sessions(found, keep=keep) as sessions:
        outputs = told(Sides(sessions, watch))
    axes = {name: axis for name, axis in outputs.items() if axis != 0}
    declared = replace(port, outputs=tuple(outputs), batch_axes=axes)
    file.write_text(port_source(declared), encoding="utf-8")
    return find_port(f"{file}:PORT", project)


def told(sides: Sides) -> dict[str, int | None]:
    """Return the outputs of two models, each with the axis that counts its rows; None where none does."""
    inputs = sides.folder / "trial.safetensors"
    save_arrays(inputs, make_batch(sides.sessions.located.port, rows=TRIAL_ROWS).arrays)
    asked = {side: sides.do(side, "building the model", Tasks.returned, inputs=inputs) for side in sides.live}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    raised: list[ModelRaised] = []
    for side, future in asked.items():
        try:
            shapes[side] = future.result()
        except ModelRaised as error:  # the other side says what there is; the verdict will say this
            raised.append(error)
    if not shapes:
        raise raised[0]
    return outputs_of(shapes)


def beside(port: Port, file: Path) -> Port:
    """Return a port whose models' files are named as from a port file, where they lie beside or below it."""

    def short(factory: str) -> str:
        path, colon, name = factory.partition(":")
        below = path.endswith((".py", ".onnx")) and Path(path).is_relative_to(file.absolute().parent)
        return f"{Path(path).relative_to(file.absolute().parent)}{colon}{name}" if below else factory

    return replace(port, paddle=short(str(port.paddle)), torch=short(str(port.torch)))

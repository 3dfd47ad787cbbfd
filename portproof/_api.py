"""The Python interface: what the commands do, on objects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof._text import plain
from portproof.judge._report import Report
from portproof.ports._files import python_of
from portproof.ports._locate import Located, Project, find_port
from portproof.ports._port import SIDES, Port, Side

if TYPE_CHECKING:
    from portproof.parity._options import Options
    from portproof.sides._sides import Watch

AnyPort = Port | Located | str | os.PathLike[str]


def located(port: AnyPort) -> Located:
    """Return a port as the engine takes it: a name or a path is looked up, as on the command line."""
    if isinstance(port, (str, os.PathLike)):
        _require_no_graph(Path(port))
        return find_port(os.fspath(port))
    if not isinstance(port, (Port, Located)):
        raise BadInput(f"expected a Port, or a name or a file of one, found a {type(port).__name__}.")
    return port if isinstance(port, Located) else Located(port, None, Project())


def _require_no_graph(path: Path) -> None:
    """Answer a graph that was named in a port's place with the port to write, its inputs and outputs read from it."""
    if path.suffix != ".onnx" or not path.is_file():
        return
    from portproof.parity._files import graph_interface
    from portproof.ports._files import input_source
    from portproof.ports._hints import file_to_bind

    inputs, outputs = graph_interface(path)
    declared = ", ".join(f"{python_of(name)}: {input_source(one)}" for name, one in inputs.items())
    raise BadInput(f"'{path}' is no port.{file_to_bind(str(path), declared, python_of(tuple(outputs)))}")


def verify(
    port: Any,
    paddle: Any = None,
    inputs: Any = None,
    *,
    options: Options | None = None,
    watch: Watch | None = None,
    **fields: Any,
) -> Report:
    """Judge a port, or two models.

        verify("googlenet")
        verify("my_port.py")
        verify(torch_model, paddle_model, torch.randn(4, 3, 224, 224))

    Models that hold weights are copied and never written to. They are judged on weights of the check's own, under which
    no fault hides, and must hold the same weights, too; factories are judged as functions alone. The names of inputs
    and outputs are told by the forwards, and the first axis of the first input counts rows; a :class:`Port` says more.

    Args:
        port: the port, or what names one on the command line; one that was found by name runs each side in a process of
            its own, side by side, a bare :class:`Port` in this process. Or torch's model: a ``torch.nn.Module``, or a
            callable without arguments that makes one; None where there is only Paddle's.
        paddle: Paddle's model, or a callable that makes one; None where there is only torch's.
        inputs: of the models: an array or a tensor of either framework, ``(rows, ...)``, a tuple of them, or a dict by
            name. They are the first rows of the check; more are drawn from where their values lie.
        options: what to do; or give the fields of :class:`Options` as keyword arguments.
        watch: called with a process's name and what it is doing now, None when it is done. Without, a notebook's cell
            and a terminal show that meanwhile.

    Returns:
        The report, true only where the verdict holds.

    Raises:
        BadInput: a factory raises, a file or an argument is wrong, a model cannot be copied.
        ModelRaised: neither of two models can be run on the inputs.
        Unavailable: a framework or the device is not there, or nothing can be the oracle.
    """
    from portproof.parity._models import models_as_port
    from portproof.parity._options import Options
    from portproof.parity._verify import verify as judge
    from portproof.render._terminal import watching

    options = options or Options(**fields)
    named = isinstance(port, (Port, Located, str, os.PathLike))
    if named and (paddle is not None or inputs is not None):
        raise BadInput(
            "a port has its models and inputs: give verify the port alone, or verify(torch, paddle, inputs)."
        )
    found: Any = located(port) if named else None
    with watching() if watch is None else nullcontext(watch) as seen:
        if named:
            return judge(found, options, seen)
        models = models_as_port(port, paddle, inputs)
        options = replace(options, rows=models.rows, same_weights=models.alive)
        return judge(models.port, options, seen)


def failure(report: Report) -> str:
    """Put a report that does not hold into words: the culprits with what to do, then the hops, a line each."""
    from portproof.render._words import ADVICE, between, line_pair, line_words, number, place, told

    lines = [f"port '{report.port}' is {report.verdict}"]
    for culprit in report.culprits[:_SHOWN]:
        lines.append(f"  {place(culprit)}  {told(culprit)}")
        for pair in culprit.lines:
            lines += [f"      {side:7}{at}  {text}" for side, at, text in line_pair(pair)]
            lines.append(f"      {line_words(pair)}")
        lines.append(f"      what to do: {ADVICE[culprit.kind]}")
    if len(report.culprits) > _SHOWN:
        lines.append(f"  and {len(report.culprits) - _SHOWN} more culprits")
    for hop in report.hops:
        if hop.verdict not in ("identical", "equivalent"):
            counted = hop.worst is not None and hop.worst.ratio is not None
            ratio = f", {number(hop.worst.ratio)} floors at '{hop.worst.tensor}'" if counted and hop.worst else ""
            lines.append(f"  hop {between(hop)}: {hop.verdict}{ratio}{f': {hop.reason}' if hop.reason else ''}")
    return "\n".join(map(plain, lines))


_SHOWN = 8


def assert_equivalent(port: AnyPort, **options: Any) -> Report:
    """Judge a port and raise AssertionError, with what differs, where and what to do, unless the verdict holds.

    Args:
        port: a :class:`Port`, or what names one on the command line.
        **options: fields of :class:`portproof.Options`.

    Returns:
        The report.

    Raises:
        AssertionError: the verdict is not ``identical`` or ``equivalent``.
        BadInput, Unavailable: as :func:`portproof.verify`.
    """
    from portproof.parity._verify import verify

    report = verify(located(port), **options)
    if not report:
        raise AssertionError(failure(report))
    return report


def convert_state(
    port: AnyPort, state: Mapping[str, Any], *, to: str, kwargs: Mapping[str, Any] | None = None
) -> dict[str, Array]:
    """Return a state dict in the other side's names and layouts, bit for bit.

    Args:
        port: whose map it is. With a ``mapping`` on disk no framework is loaded, else both models are built.
        state: name to array or to tensor of either framework, all of the side opposite to ``to``.
        to: ``"paddle"`` or ``"torch"``.
        kwargs: for both factories, over the port's own.

    Returns:
        Name to array; what only the target has (BatchNorm's counters) is zero.

    Raises:
        BadInput: a tensor is missing, surplus, or of another shape or dtype, or the port's models do not correspond.
    """
    from portproof.checkpoints import Checkpoint, Stored
    from portproof.convert._convert import towards_side
    from portproof.convert._fitted import fitted
    from portproof.convert._transfer import ties
    from portproof.sides._given import plan_of
    from portproof.sides._session import Sessions

    if to not in SIDES:
        raise BadInput(f"convert_state: to is 'paddle' or 'torch', found '{to}'.")
    found, source = located(port), Side(to).other
    chosen = dict(kwargs or {})
    plan = plan_of(found.port, None, lambda: Sessions(found, chosen))
    given = {name: Stored.of(_array(name, value)) for name, value in state.items()}
    ignored = {name for side, name, _ in plan.account.ignored if side == source}
    held = Checkpoint(Path("state"), given, source, {})
    tensors = fitted(held, plan.entries[source], ignored, ties(plan.account.rows, source)).required().tensors
    return {name: np.array(stored.read()) for name, stored in towards_side(plan, tensors, source, to).items()}


def _array(name: str, value: Any) -> Array:
    """Return a tensor of any framework as an array."""
    if isinstance(value, np.ndarray):
        return value
    if not hasattr(value, "numpy"):
        raise BadInput(f"convert_state: '{name}' is a {type(value).__name__}, expected an array or a tensor.")
    value = value.detach().cpu() if hasattr(value, "detach") else value
    if "bfloat16" in str(value.dtype):
        import ml_dtypes

        wide = value.float() if hasattr(value, "float") else value.astype("float32")
        return np.asarray(wide.numpy()).astype(ml_dtypes.bfloat16)
    return np.asarray(value.numpy())


def export(
    port: AnyPort,
    side: str,
    target: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Export one side to ONNX, with the port's own names and its free dimensions left free.

    Args:
        port: the port.
        side: ``"torch"`` or ``"paddle"``.
        target: the ``.onnx`` file; replaced only when the new one is whole.
        weights: a checkpoint of that side; without, the weights are freshly initialised.
        kwargs: for the factory, over the port's own.

    Returns:
        The free dimensions that the exporter could not leave free.

    Raises:
        BadInput: the exporter refuses, or an argument is wrong; an older file is left as it was.
        Unavailable: a package that the export needs is not there.
    """
    import shutil

    from portproof._disk import atomic_path, is_special, require_new, save_arrays
    from portproof.frameworks._export import EXPORTING
    from portproof.ports._inputs import make_batch
    from portproof.sides._given import given_weights
    from portproof.sides._session import Sessions
    from portproof.sides._tasks import Tasks

    found = located(port)
    if side not in found.port.sides:
        raise BadInput(f"port '{found.port.name}' exports from {' or '.join(found.port.sides)}, found '{side}'.")
    path = Path(target)
    require_new(path)
    with Sessions(found, dict(kwargs or {})) as sessions:
        sessions.require(f"the {side} export", [side], *EXPORTING[side])
        session = sessions.open(side)
        inputs, state = sessions.folder / "inputs.safetensors", sessions.folder / "weights.safetensors"
        batch = make_batch(found.port, rows=2)
        save_arrays(inputs, batch.arrays)
        if weights is not None:
            save_arrays(state, given_weights(Path(weights), {side: session})[0])
            session.call(Tasks.load, weights=state)
        # An open file of this process is none of the side's.
        out = sessions.folder / "out.onnx" if is_special(path) else path.absolute()
        fixed = tuple(session.call(Tasks.export, inputs=inputs, out=out))
        if is_special(path):
            with atomic_path(path) as temporary:
                shutil.copyfile(out, temporary)
        return fixed

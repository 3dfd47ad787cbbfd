"""What a port is: a pair of models that must be the same function."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import Any, Literal

from portproof._errors import BadInput
from portproof._text import plain
from portproof.ports._weightmap import WeightMap

Factory = str | Callable[..., Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Side(StrEnum):
    """One of the two models; its value is what files, JSON and the command line call it."""

    PADDLE = "paddle"
    TORCH = "torch"

    __repr__ = str.__repr__

    @property
    def title(self) -> str:  # type: ignore[override]  # of a side, not of a string
        """Return what people call it."""
        return "Paddle" if self is Side.PADDLE else "torch"

    @property
    def other(self) -> Side:
        """Return the opposite side."""
        return Side.TORCH if self is Side.PADDLE else Side.PADDLE

    @property
    def eager(self) -> str:
        """Return the runner that is its reference."""
        return "paddle-dygraph" if self is Side.PADDLE else "torch-eager"


SIDES = tuple(Side)
#: In the order in which they lead: where both run, torch's float64 run is the oracle.
LEADING = (Side.TORCH, Side.PADDLE)
#: How Paddle's programs end: since version 3, and before.
PROGRAMS = (".json", ".pdmodel")


@dataclass(frozen=True)
class Input:
    """One input of both models.

    Args:
        shape: sizes; a string names a free dimension. ``"batch"`` is the number of rows.
        dtype: a NumPy name. Floating inputs follow the precision of the run, others are kept.
        range: lowest and highest value. Integers need it (the highest is included), unless ``values``.
        values: the only values that the input takes (a mask: ``(0, 1)``).
        sizes: size of each free dimension other than ``"batch"``.
        preprocess: for images, ``module:function`` or a callable that maps a photograph, ``(H, W, 3)``
            uint8, to one row of this input, float32. The default resizes the short side to 8/7 of the
            input, crops the centre, scales to 0..1 and normalises with ImageNet's statistics.

    Raises:
        BadInput: the fields contradict each other.
    """

    shape: Sequence[int | str]
    dtype: str = "float32"
    range: tuple[float, float] | None = None
    values: Sequence[float] | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    preprocess: Factory | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.dtype not in (*FLOATS, *INTEGERS, "bool"):
            raise BadInput(f"Input: dtype '{self.dtype}' is none of {', '.join((*FLOATS, *INTEGERS, 'bool'))}.")
        for size in self.shape:
            if isinstance(size, str) and size != "batch" and size not in self.sizes:
                raise BadInput(f"Input: free dimension '{size}' has no size; add sizes={{'{size}': 16}}.")
            if isinstance(size, int) and size < 1:
                raise BadInput(f"Input: a size must be at least 1, found {size} in shape {self.shape}.")
        if self.dtype in INTEGERS and self.range is None and self.values is None:
            raise BadInput(f"Input: {self.dtype} values cannot be guessed; give range=(lowest, highest) or values=(…).")

    @property
    def is_float(self) -> bool:
        """Whether the input follows the precision of a run."""
        return self.dtype in FLOATS

    @property
    def is_image(self) -> bool:
        """Whether a photograph fits: ``(batch, 3, H, W)``, floating."""
        return self.is_float and len(self.shape) == 4 and self.shape[0] == "batch" and self.shape[1] == 3

    @property
    def has_rows(self) -> bool:
        """Whether the first dimension is the batch."""
        return bool(self.shape) and self.shape[0] == "batch"

    def concrete(self, batch: int) -> tuple[int, ...]:
        """Return the shape with every free dimension filled in."""
        return tuple(
            size if isinstance(size, int) else batch if size == "batch" else self.sizes[size] for size in self.shape
        )


@dataclass(frozen=True)
class Part:
    """The signature of one module, where a port is judged in part.

    Attributes:
        inputs: name to shape of one row and dtype, in the order of the module's arguments.
        outputs: how many tensors it returns.
    """

    inputs: Mapping[str, tuple[Sequence[int], str]]
    outputs: int

    def of(self, port: Port) -> Port:
        """Return the port of this part alone."""
        inputs = {
            name: Input(("batch", *shape), dtype, values=None if dtype in FLOATS else (0,))
            for name, (shape, dtype) in self.inputs.items()
        }
        names = ("output",) if self.outputs == 1 else tuple(f"output{i}" for i in range(self.outputs))
        return replace(port, inputs=inputs, outputs=names, call="positional", accepted={})


@dataclass(frozen=True)
class Accepted:
    """A difference in one module that the port's author has looked at and keeps.

    Args:
        bound: the largest relative root-mean-square difference, in float64, that is accepted.
        reason: why. Printed with every verdict.
    """

    bound: float
    reason: str

    def __post_init__(self) -> None:
        numbered = isinstance(self.bound, int | float) and self.bound > 0
        if not (numbered and isinstance(self.reason, str) and self.reason.strip()):
            raise BadInput(f"Accepted: give a bound above 0 and a reason, found {self.bound!r} and {self.reason!r}.")


@dataclass(frozen=True)
class Port:
    """A pair of models that must be the same function, and how to hold them side by side.

    Args:
        name: what the port is called on the command line.
        paddle: a factory that returns a ``paddle.nn.Layer``: a callable, ``"module:name"``, or the path of an
            artefact on disk (``.onnx``, or Paddle's ``.json`` or ``.pdmodel`` program with its
            ``.pdiparams``). None: no such side.
        torch: the same for a ``torch.nn.Module``.
        inputs: name to :class:`Input`, in the order of the models' arguments.
        outputs: names of the outputs, in the order in which the models return them, or the keys of the dictionary.
        batch_axes: output to the axis that counts its rows, where that is not the first (a recurrent layer's state);
            None for an output that has no rows (a loss of the whole batch).
        weights: how the names and layouts of the two state dicts correspond.
        kwargs: keyword arguments of both factories (``--set num_classes=10``).
        call: how the inputs are handed over: by position, by keyword, or as one dictionary.
        taps: pairs of module paths, torch to paddle, where the trees differ.
        accepted: deviations that the author has looked at: torch module path to :class:`Accepted`.
        mapping: file of the weight map as a table (``portproof account -o``), with which ``convert`` needs no model.
        training: side to how it is trained, ``"module:Training"`` or a callable: called with the model and settings,
            it returns an object with ``optimizer``, ``step(*inputs, labels)``, which returns the losses by name, and
            where there is one ``scheduler``. See docs/training.md.
        faults: kinds of fault of the author's own, beside the catalogue: each a ``portproof.faults.Kind``, or
            ``"module:name"`` of one or of several.

    Raises:
        BadInput: the fields contradict each other.
    """

    name: str
    paddle: Factory | None = None
    torch: Factory | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Sequence[str] = ("out",)
    batch_axes: Mapping[str, int | None] = field(default_factory=dict)
    weights: WeightMap = field(default_factory=WeightMap)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    call: Literal["positional", "keyword", "dictionary"] = "positional"
    taps: Mapping[str, str] = field(default_factory=dict)
    accepted: Mapping[str, Accepted] = field(default_factory=dict)
    mapping: str | Path | None = None
    training: Mapping[str, Factory] = field(default_factory=dict)
    faults: Sequence[Any] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", tuple(self.outputs))
        where = f"Port '{self.name}'"
        if not _NAME.fullmatch(self.name):
            raise BadInput(f"{where}: a name is made of letters, digits, '_', '-' and '.', and begins with a letter.")
        if self.paddle is None and self.torch is None:
            raise BadInput(f"{where}: give it a paddle or a torch side, or both.")
        if not self.inputs:
            raise BadInput(
                f'{where}: inputs is empty; name at least one, as inputs={{"x": Input(shape=("batch", 8))}}.'
            )
        if not self.outputs or len(set(self.outputs)) != len(self.outputs):
            raise BadInput(f"{where}: outputs must name each output once, found {list(self.outputs)}.")
        if isinstance(self.outputs, tuple) and any(len(name) == 0 for name in self.outputs):
            raise BadInput(f"{where}: an output has an empty name.")
        unknown = sorted(set(self.batch_axes) - set(self.outputs))
        if unknown:
            raise BadInput(f"{where}: batch_axes names '{unknown[0]}', the outputs are {', '.join(self.outputs)}.")
        if not set(self.training) <= set(self.sides):
            raise BadInput(f"{where}: training names {sorted(self.training)}, the port has {', '.join(self.sides)}.")
        if self.call not in ("positional", "keyword", "dictionary"):
            raise BadInput(f"{where}: call is 'positional', 'keyword' or 'dictionary', found '{self.call}'.")

    def __str__(self) -> str:
        """Return its sides, inputs and outputs, a line each."""
        sides = [
            f"{side}: {one if isinstance(one := self.factory(side), str) else _called(one)}" for side in self.sides
        ]
        inputs = [f"{name} {one.dtype} ({', '.join(map(str, one.shape))})" for name, one in self.inputs.items()]
        lines = [f"port {self.name}", *sides, f"inputs: {', '.join(inputs)}", f"outputs: {', '.join(self.outputs)}"]
        return "\n  ".join(map(plain, lines))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the same in IPython."""
        printer.text(repr(self) if cycle else str(self))

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return f"<pre>{escape(str(self))}</pre>"

    def factory(self, side: str) -> Factory | None:
        """Return the factory or artefact of a side, None where the port has no such side."""
        return self.paddle if side == "paddle" else self.torch

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that this port has."""
        return tuple(side for side in SIDES if self.factory(side) is not None)

    def rows_first(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arrays by output with the axis that counts rows in the first place."""
        return {
            name: array.swapaxes(0, self.batch_axes.get(name) or 0) if array.ndim else array
            for name, array in outputs.items()
        }

    def artefact(self, side: str) -> str | None:
        """Return the path of a side that is an artefact on disk, else None."""
        factory = self.factory(side)
        return factory if isinstance(factory, str) and factory.endswith((".onnx", *PROGRAMS)) else None

    def require_interface(self, title: str, inputs: Collection[str], outputs: Collection[str]) -> None:
        """Check the names of a file's inputs and outputs; nothing is paired by position or by guess.

        Raises:
            BadInput: they are not the port's.
        """
        for what, names, declared in (("inputs", inputs, self.inputs), ("outputs", outputs, self.outputs)):
            if set(names) != set(declared):
                raise BadInput(f"'{title}' has {what} {sorted(names)}, the port names {sorted(declared)}.")


def _called(factory: Any) -> str:
    """Name a factory as its author would."""
    if isinstance(factory, str):
        return factory
    return getattr(factory, "__qualname__", type(factory).__name__)

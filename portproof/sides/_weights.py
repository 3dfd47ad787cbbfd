"""The weights that the sides of a port are run on, a file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors.numpy import load_file

from portproof._machine import thread_budget
from portproof.sides._given import given_weights
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    Attributes:
        kind: where they are from; ``earlier``: they are sensitised, of an earlier judgement.
        label: the kind in words, with the name of a file that was given.
        files: side to its state dict, in its own names and layouts; or, of kind ``file``, to the graph that holds them.
    """

    kind: Literal["given", "factory", "sensitised", "earlier", "normalised", "file"]
    label: str
    files: Mapping[str, Path]


def given_label(path: Path) -> str:
    """Return the label of weights that a person gave."""
    return f"given ({path.name})"


def given(sides: Sides, path: Path) -> Weights:
    """Return a checkpoint's weights.

    Raises:
        BadInput: the file is none, or does not fit.
    """
    return Weights("given", given_label(path), sides.spread(*given_weights(path, sides.open)))


def factory(sides: Sides) -> Weights:
    """Return what the leading side's model begins with."""
    side, out = sides.live[0], sides.folder / "factory.safetensors"
    sides.open[side].call(Tasks.save_state, out=out)
    return Weights("factory", "factory", sides.spread(load_file(out), side))


def sensitised(sides: Sides, inputs: Path, seed: int) -> Weights:
    """Return weights under which every channel matters; the first side that can be run on them leads from now on.

    Raises:
        BadInput: no side runs.
    """
    return Weights("sensitised", "sensitised", sides.spread(*sides.sensitise(inputs, seed, thread_budget())))


def load_weights(sides: Sides, files: Mapping[str, Path]) -> None:
    """Submit to every side that it load its file."""
    for side in sides.live:
        sides.do(side, "loading weights", Tasks.load, weights=files[side])

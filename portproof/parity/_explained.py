"""What more can be said of culprits once they are found: where their code stands, and which tables differ in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.numpy import load_file

from portproof._numbers import EPSILON, Array, compare
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import Culprit, Source
from portproof.sides._pairs import Pairs
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks

#: Kinds of culprits whose module is no path of a model: nodes of a graph, or nothing at all.
_NO_MODULE = ("graph", "runtime", "training", "accepted")


def with_sources(sides: Sides, culprits: Sequence[Culprit]) -> list[Culprit]:
    """Return culprits with file and line of their modules on the sides that are models."""
    wanted = list(dict.fromkeys(culprit.module for culprit in culprits if culprit.kind not in _NO_MODULE))
    if not wanted:
        return list(culprits)
    found: dict[str, list[Source]] = {}
    for side in sides.live:
        # A module without a partner is named by its own side's path.
        described = sides.described[side]
        for path in wanted:
            own = sides.local_paddle_path(path) if side == "paddle" else path
            place = described.written_at(own) or described.written_at(path)
            if place is not None:
                found.setdefault(path, []).append(Source(side, *place))
    return [
        replace(culprit, sources=tuple(found.get(culprit.module, ()))) if culprit.kind not in _NO_MODULE else culprit
        for culprit in culprits
    ]


def with_tables(sides: Sides, inputs: Path, culprits: Sequence[Culprit]) -> tuple[list[Culprit], list[str]]:
    """Add to culprits which of their tables differ: tensors outside the state dict, which each side made itself.

    Args:
        sides: with weights loaded.
        inputs: file of a few rows.
        culprits: so far.

    Returns:
        The culprits, and a note of each table that differs in a module that is none.
    """
    if len(sides.live) < 2:
        return list(culprits), []
    files = {side: sides.folder / f"tables-{side}.safetensors" for side in sides.live}
    waiting = [sides.do(side, "reading its tables", Tasks.tables, inputs, file) for side, file in files.items()]
    held = [future.result() for future in waiting]
    if not all(held):
        return list(culprits), []
    differing = _differing({side: load_file(file) for side, file in files.items()}, sides.pairs())
    named = {culprit.module for culprit in culprits}
    explained = [
        replace(
            culprit,
            message=f"{culprit.message}; {differing[culprit.module]}",
            cause="; ".join(filter(None, (culprit.cause, differing[culprit.module]))),
        )
        if culprit.module in differing
        else culprit
        for culprit in culprits
    ]
    notes = [f"in '{key or '(root)'}', {text}" for key, text in differing.items() if key not in named]
    return explained, notes


def _differing(tables: dict[str, dict[str, Array]], pairs: Pairs) -> dict[str, str]:
    """Return, by module, which of its tables differ between the sides by more than float32 rounds.

    A table may be made in float32 on one side, so that is what can be told.
    """
    held: dict[str, dict[str, dict[str, Array]]] = {}
    for side, own in tables.items():
        for name, array in own.items():
            path, _, leaf = name.rpartition(".")
            if path in pairs.keys[side]:
                held.setdefault(pairs.keys[side][path], {}).setdefault(side, {})[leaf] = array
    found: dict[str, list[str]] = {}
    for key, by in held.items():
        for leaf, one in by.get("torch", {}).items():
            other = by.get("paddle", {}).get(leaf)
            if other is None or one.shape != other.shape or one.dtype.kind != other.dtype.kind:
                continue
            difference = compare(other, one, "float64", detail=False)
            if difference.mismatch or difference.rms > FLOOR_MULTIPLE * EPSILON["float32"]:
                amount = difference.mismatch or f"by {difference.rms:.1e} of its scale"
                found.setdefault(key, []).append(f"its table '{leaf}' differs between the sides ({amount})")
    return {key: "; ".join(texts) for key, texts in found.items()}

"""What a side's process answers to ``faults``: a clean model, and one planted fault after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._numbers import Arrays, Difference, compare
from portproof.faults._catalogue import Catalogue, sample
from portproof.faults._effect import CleanRun, Effect
from portproof.faults._kinds import Fault, Kind, author_kinds, survey
from portproof.frameworks._model import Model
from portproof.frameworks._settings import describe_module
from portproof.replay._force import Shape, force
from portproof.replay._taps import TapDifference, TapStore
from portproof.runners import RunnerJob
from portproof.sides._roles import answers
from portproof.sides._workplace import Workplace


@dataclass(frozen=True)
class Shown:
    """What the replay showed of a group of faults that were planted together.

    Attributes:
        faults: what was planted.
        planted: where, by torch's paths.
        modules: where those faults are that have an effect by themselves.
        differences: to the recording.
        outputs: by name, how the outputs, nothing forced, differ from the other side's; None where it raised.
        settings: key to layer type and settings, as they were with the faults in.
        effect: on the planted side.
        why: explains a group without effect.
    """

    faults: tuple[Fault, ...]
    planted: tuple[str, ...]
    modules: tuple[str, ...]
    differences: tuple[TapDifference, ...]
    outputs: dict[str, Difference] | None
    settings: dict[str, tuple[str, dict[str, Any]]]
    effect: Effect
    why: tuple[str, ...]


class FaultTasks:
    """Planted faults. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._planting: tuple[Path, RunnerJob, _Planting] | None = None

    @answers(beside="float64")
    def catalogue(self, pairs: dict[str, str], inputs: Path, folder: Path) -> list[Fault]:
        """List every fault that applies to this side's model."""
        return self._plants(pairs, inputs, folder).faults

    @answers(beside="float64")
    def plant(
        self,
        pairs: dict[str, str],
        inputs: Path,
        folder: Path,
        outputs: Path,
        faults: Sequence[Sequence[Fault]],
        seed: int,
    ) -> list[Shown]:
        """Plant faults, one group at a time, and return what the replay showed and whether there was an effect.

        Args:
            pairs: of modules.
            inputs: file of a few rows.
            folder: of the taps.
            outputs: file of what the other side puts out in float64 for those rows.
            faults: groups of them.
            seed: of what they draw.
        """
        planting, expected = self._plants(pairs, inputs, folder), load_file(outputs)
        return [planting.answer(group, seed, expected) for group in faults]

    @answers(beside="float64")
    def look(
        self, pairs: dict[str, str], inputs: Path, folder: Path, outputs: Path, count: int, seed: int
    ) -> list[Shown]:
        """Plant a sample of single faults; see :meth:`plant`."""
        planting, expected = self._plants(pairs, inputs, folder), load_file(outputs)
        return [planting.answer([fault], seed, expected) for fault in sample(planting.faults, count, seed)]

    def _plants(self, pairs: dict[str, str], inputs: Path, folder: Path) -> _Planting:
        # Other taps are another folder; other weights are another job.
        kept = self._planting
        if kept is None or kept[0] != folder or kept[1] is not self.place.job:
            extra = author_kinds(self.place.job.port)
            model, rows, store = self.place.model("float64"), load_file(inputs), TapStore(folder)
            shapes = self.place.shapes(folder)
            if shapes is None:
                shapes = {}
                force(model, pairs, rows, store, shapes=shapes)
            planting = _Planting(model, pairs, rows, store, shapes, extra)
            kept = self._planting = folder, self.place.job, planting
        return kept[2]


class _Planting:
    """A clean model with everything that is needed to plant one fault after the other."""

    def __init__(
        self, model: Model, pairs: dict[str, str], rows: Arrays, store: TapStore,
        shapes: dict[tuple[str, int], Shape], extra: list[Kind],
    ) -> None:  # fmt: skip
        self.model, self.pairs, self.rows, self.store, self.shapes = model, pairs, rows, store, shapes
        self.clean = CleanRun(model, rows)
        self.catalogue = Catalogue(survey(model, self.clean.first), extra)
        self.faults = [fault for fault in self.catalogue.faults if all(path in pairs for path in fault.modules)]
        self.modules = dict(model.framework.modules(model.root))

    def answer(self, group: Sequence[Fault], seed: int, expected: Arrays) -> Shown:
        """Plant a group of faults together, look, and take them out again."""
        # In a group, a fault that has no effect where it stands alone is not one that could be located.
        alone = [self._effect(fault, seed) for fault in group] if len(group) > 1 else [True]
        acting = [fault for fault, effective in zip(group, alone, strict=True) if effective]
        paths = list(dict.fromkeys(path for fault in group for path in fault.modules))
        with contextlib.ExitStack() as stack:
            for fault in group:
                stack.enter_context(self.catalogue.plant(fault, seed))
            differences = force(self.model, self.pairs, self.rows, self.store, shapes=self.shapes, only=paths)
            settings = {self.pairs[path]: describe_module(self.model, self.modules[path]) for path in paths}
            effect = self.clean.effect(paths)
        return Shown(
            faults=tuple(group),
            planted=tuple(self.pairs[path] for path in paths),
            modules=tuple(self.pairs[path] for fault in acting for path in fault.modules),
            differences=tuple(differences),
            outputs=None if effect.outputs is None else self._apart(effect.outputs, expected),
            settings=settings,
            effect=replace(effect, outputs=None),
            why=() if effect.effective else tuple(self.catalogue.why(fault) for fault in group),
        )

    def _apart(self, outputs: Arrays, expected: Arrays) -> dict[str, Difference]:
        found = self.model.port.rows_first(outputs)
        return {name: compare(found[name], array, "float64", detail=False) for name, array in expected.items()}

    def _effect(self, fault: Fault, seed: int) -> bool:
        with self.catalogue.plant(fault, seed):
            return self.clean.effect(fault.modules).effective

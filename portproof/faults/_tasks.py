"""What a side's process answers to ``faults``: a clean model, and one planted fault after the other."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._numbers import Arrays
from portproof.faults._catalogue import Catalogue, sample
from portproof.faults._effect import CleanRun
from portproof.faults._kinds import Fault, Kind, author_kinds, survey
from portproof.frameworks._model import Model
from portproof.frameworks._settings import _described
from portproof.replay import _taps
from portproof.replay._taps import TapStore, force
from portproof.runners import RunnerJob
from portproof.sides._workplace import Workplace


class FaultTasks:
    """Planted faults. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._planting: tuple[str, RunnerJob, _Planting] | None = None

    def catalogue(self, pairs: dict[str, str], inputs: str, folder: str) -> list[dict[str, Any]]:
        """List every fault that applies to this side's model."""
        return [asdict(fault) for fault in self._plants(pairs, inputs, folder).faults]

    def plant(
        self, pairs: dict[str, str], inputs: str, folder: str, faults: list[list[dict[str, Any]]], seed: int
    ) -> list[dict[str, Any]]:
        """Plant faults, one group at a time, and return what the replay showed and whether there was an effect."""
        planting = self._plants(pairs, inputs, folder)
        return [planting.answer([Fault.from_json(fault) for fault in group], seed) for group in faults]

    def look(self, pairs: dict[str, str], inputs: str, folder: str, count: int, seed: int) -> list[dict[str, Any]]:
        """Plant a sample of single faults; see :meth:`plant`."""
        planting = self._plants(pairs, inputs, folder)
        return [planting.answer([fault], seed) for fault in sample(planting.faults, count, seed)]

    def _plants(self, pairs: dict[str, str], inputs: str, folder: str) -> _Planting:
        # Other taps are another folder; other weights are another job.
        kept = self._planting
        if kept is None or kept[0] != folder or kept[1] is not self.place.job:
            extra = author_kinds(self.place.job.port)
            store = TapStore(Path(folder))
            planting = _Planting(self.place.model("float64"), pairs, load_file(inputs), store, extra)
            kept = self._planting = folder, self.place.job, planting
        return kept[2]


class _Planting:
    """A clean model with everything that is needed to plant one fault after the other."""

    def __init__(self, model: Model, pairs: dict[str, str], rows: Arrays, store: TapStore, extra: list[Kind]) -> None:
        self.model, self.pairs, self.rows, self.store = model, pairs, rows, store
        self.clean = CleanRun(model, rows)
        self.catalogue = Catalogue(survey(model, self.clean.first), extra)
        self.faults = [fault for fault in self.catalogue.faults if all(path in pairs for path in fault.modules)]
        self.modules = dict(model.framework.modules(model.root))
        self.shapes: dict[tuple[str, int], Any] = {}
        force(model, pairs, rows, store, shapes=self.shapes)

    def answer(self, group: list[Fault], seed: int) -> dict[str, Any]:
        """Plant a group of faults together, look, and take them out again."""
        # In a group, a fault that has no effect where it stands alone is not one that could be located.
        alone = [self._effect(fault, seed) for fault in group] if len(group) > 1 else [True]
        acting = [fault for fault, effective in zip(group, alone, strict=True) if effective]
        paths = list(dict.fromkeys(path for fault in group for path in fault.modules))
        with contextlib.ExitStack() as stack:
            for fault in group:
                stack.enter_context(self.catalogue.plant(fault, seed))
            differences = force(self.model, self.pairs, self.rows, self.store, shapes=self.shapes, only=paths)
            settings = {self.pairs[path]: _described(self.model, self.modules[path]) for path in paths}
            effect = self.clean.effect(paths)
        return {
            "faults": [asdict(fault) for fault in group],
            "planted": [self.pairs[path] for path in paths],
            "modules": [self.pairs[path] for fault in acting for path in fault.modules],
            "differences": _taps.to_json(differences),
            "settings": settings,
            "effect": asdict(effect),
            "why": [] if effect.effective else [self.catalogue.why(fault) for fault in group],
        }

    def _effect(self, fault: Fault, seed: int) -> bool:
        with self.catalogue.plant(fault, seed):
            return self.clean.effect(fault.modules).effective

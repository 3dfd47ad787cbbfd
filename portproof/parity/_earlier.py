"""Weights of an earlier judgement, for one that follows it: whoever edits a line asks again, and most is known.

Sensitised weights follow from the leading side's model, and each side's answers from them. Where that model changed,
all would be made anew; on the weights of before, the other side's answers are there, and the changed model tells one of
three things: it puts out what it did, so that the weights are as good for it as they were; or something that is not the
other side's, and two functions are two on any weights; or neither, and only then new weights are needed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._disk import hash_arrays, save_arrays, write_text
from portproof._errors import BadInput
from portproof._numbers import Arrays
from portproof.judge._floor import Floor
from portproof.judge._found import Found
from portproof.judge._hops import judge_outputs
from portproof.judge._report import HOLDS
from portproof.parity._rows import Rows
from portproof.sides._reads import digest_of_file
from portproof.sides._sides import Sides
from portproof.sides._weights import Weights

_NOTE = (
    "judged on weights that were made for {0}'s model as it was before: "
    "figures may be others than those of a run by itself"
)


class OtherWeightsNeededError(Exception):
    """Nothing can be told on the weights of before.

    Args:
        pending: tasks on them that nobody waits for any more.
    """

    def __init__(self, pending: Sequence[Future[Any]]) -> None:
        super().__init__()
        self._pending = pending

    def cancel(self) -> None:
        """Cancel what has not begun."""
        for future in self._pending:
            future.cancel()


class Earlier:
    """The weights that an earlier judgement made, and what the leading side put out on them.

    Args:
        folder: where they are kept from one judgement to the next; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._about, self._outputs = ((folder or Path()) / name for name in ("about.json", "outputs.safetensors"))

    def weights(self, sides: Sides, rows: Rows) -> Weights | None:
        """Return the weights, where they fit the models and the rows as they are now; None where there are none."""
        if self._folder is None or not self._about.exists():
            return None
        kept = json.loads(self._about.read_text())
        if kept["fit"] != _fit(sides, rows):
            return None
        files = {side: self._folder / name for side, (name, _) in kept["files"].items()}
        for name, digest in kept["files"].values():
            sides.sessions.know(self._folder / name, digest)
        return Weights("earlier", "sensitised", files)

    def require(self, weights: Weights, pending: Sequence[Future[Any]], telling: bool) -> None:
        """See that something can be told on weights, if they are of a judgement before this one.

        Args:
            weights: that all is run on.
            pending: tasks on them.
            telling: whether something can.

        Raises:
            OtherWeightsNeededError: they are, and it cannot.
        """
        if weights.kind == "earlier" and not telling:
            raise OtherWeightsNeededError(pending)

    def told(
        self, weights: Weights, sides: Sides, rows: Rows, judged: Found, outputs: Mapping[str, Arrays],
        floors: Mapping[str, Floor], pending: Sequence[Future[Any]],
    ) -> Found:  # fmt: skip
        """Return what there is to say of weights, once outputs on them are judged; new ones are kept.

        Args:
            weights, pending: see :meth:`require`, whose error is raised here, too.
            sides: the leading one first.
            rows: that were judged.
            judged: the sides' outputs.
            outputs: of the leading side, by precision.
            floors: by output.
        """
        now = outputs["float64"]
        if weights.kind == "sensitised":
            with suppress(OSError, BadInput):  # no room: the next judgement makes weights of its own
                self._keep(weights, sides, rows, now)
        if weights.kind != "earlier" or _is_same(now, load_file(self._outputs), floors):
            return Found()
        differ = any(hop.verdict == "divergent" for hop in judged.hops if hop.kind == "semantics")
        self.require(weights, pending, differ and not rows.port.accepted)
        return Found(notes=[_NOTE.format(sides.live[0].title)])

    def _keep(self, weights: Weights, sides: Sides, rows: Rows, outputs: Arrays) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(exist_ok=True)
        self._about.unlink(missing_ok=True)  # what follows may be ended halfway
        for file in weights.files.values():
            shutil.copyfile(file, self._folder / file.name)
        save_arrays(self._outputs, outputs)
        files = {side: (file.name, sides.sessions.digest(file)) for side, file in weights.files.items()}
        write_text(self._about, json.dumps({"files": files, "fit": _fit(sides, rows)}))


def _is_same(now: Arrays, before: Arrays, floors: Mapping[str, Floor]) -> bool:
    """Whether a model put out what it did, as float64 tells."""
    alike = now.keys() == before.keys()
    return alike and judge_outputs("semantics", "", "", "float64", "", now, before, floors).verdict in HOLDS


def _fit(sides: Sides, rows: Rows) -> object:
    """Return what weights have to fit, as JSON has it: the sides' tensors, how they correspond, and the rows."""
    entries = {side: [list(vars(entry).values()) for entry in sides.described[side].entries] for side in sides.live}
    own = {side: hash_arrays(sides.own(side)) for side in sides.live}
    files = [digest_of_file(file) for file in (rows.all, rows.judged)]
    return json.loads(json.dumps([list(sides.live), entries, repr(sides.account), own, files]))

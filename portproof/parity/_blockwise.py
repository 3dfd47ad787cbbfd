"""``verify --blockwise``: a port judged without ever holding a model; weights are read once a side."""

from __future__ import annotations

from pathlib import Path

from portproof._disk import save_arrays
from portproof._errors import BadInput, ModelRaised
from portproof.checkpoints import open_checkpoint
from portproof.judge._report import Hop, Modules, Verdict, Worst
from portproof.replay._replay import Replay, Replayed
from portproof.replay._tasks import ReplayTasks
from portproof.sides._given import settle
from portproof.sides._sides import Sides


def stream_replay(sides: Sides, weights: Path, few: Path) -> Replayed:
    """Point both sides at one file of weights, and judge them module by module.

    Args:
        sides: whose models are hollow and match.
        weights: a checkpoint, in either side's names and layouts.
        few: file of the rows that are replayed.

    Raises:
        BadInput: the file is none, or does not fit; or the side that leads raised.
    """
    settled, counters = settle(open_checkpoint(weights), sides.open, keep_dtype=True)
    source = str(settled.side)
    names = {name: str(stored.place[-1]) if stored.place else name for name, stored in settled.tensors.items()}
    for side in sides.live:
        own = sides.own(side) | (counters if side == source else {})
        file = sides.folder / f"own-{side}.safetensors"
        save_arrays(file, own)
        sides.do(
            side, "opening weights", ReplayTasks.stream, weights=weights.absolute(), source=source, names=names,
            rows=sides.account.rows, own=file, folder=sides.folder / f"stash-{side}",
        )  # fmt: skip
    lead, follower = sides.live
    replay = Replay(sides.do, lead, follower, sides.pairs(), few, sides.folder / "taps", once=True)
    try:
        passes = replay.submit()
    except ModelRaised as error:
        raise BadInput(str(error)) from error
    return replay.judge(passes)


def modules_hop(sides: Sides, weights: str, modules: Modules) -> Hop:
    """Return the float64 hop of a port whose modules were judged one by one, before its culprits are known."""
    worst = Worst(modules.worst_module or "(root)", modules.worst_ratio, None, None, None)
    verdict: Verdict = "equivalent"
    reason = None
    if "" in modules.blind:
        verdict, reason = "inconclusive", "an output hardly depends on the input under these weights"
    one, two = (f"{side.title} float64" for side in sides.live)
    return Hop("semantics", one, f"{two}, module by module", "float64", weights, verdict, worst, reason)
